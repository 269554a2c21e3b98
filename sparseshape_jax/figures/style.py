"""How every figure looks: draw within `matplotlib.rc_context(STYLE)`.

Hues are those of Okabe & Ito (2008), which color-blind readers can tell apart.
"""

from typing import Any

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names of observers and images are anybody's text
}

HUMANS = "#D55E00"
"""The color of human observers."""
HUES = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
"""The colors of everything else, in order."""
