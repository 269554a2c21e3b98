"""What people look at: the grid of Figures 2 and 3, loss curves, GIFs; and the resizing between octaves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from sparseshape_jax import output
from sparseshape_jax.figures import save

LABELS = {"all": "all activations", "top": "Top-K {percent}", "rest": "non-Top-K {percent}"}


def draw_grid(folder: Path, rows: Sequence[tuple[np.ndarray, Sequence[Any]]], fraction: float) -> list[Path]:
    """Write `figure.png` and `figure.pdf`: a row per image, the original and then its panels, labelled.

    Args:
        folder: where the panels' images are, and the figure goes.
        rows: the original, (h, w, 3) in [0, 1], and its six tasks: texture then reconstruction, all, top, rest.
        fraction: the keep fraction, for the labels.
    """
    columns = 1 + len(rows[0][1])
    shapes = [original.shape[:2] for original, _ in rows]
    heights = [height / width for height, width in shapes]
    inches = 1.9
    figure = Figure(
        figsize=(inches * columns, inches * sum(heights) + 0.75),
        dpi=160,
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
    )
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    percent = f"({100 * fraction:g} %)"
    for row, (original, tasks) in enumerate(rows):
        pictures = [original] + [np.asarray(Image.open(folder / f"{task.stem}.png")) for task in tasks]
        for column, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.imshow(picture, interpolation="lanczos")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if row == 0 and column == 0:
                axis.set_title("original", fontsize=10)
            elif row == 0:
                task = tasks[column - 1]
                axis.set_title(f"{task.kind}\n{LABELS[task.top_k.keep].format(percent=percent)}", fontsize=10)
    return save(figure, folder / "figure")


def draw_losses(folder: Path, rows: Sequence[dict[str, Any]]) -> list[Path]:
    """Write `losses.png` and `losses.pdf`: each result's best loss so far, relative to its start, by evaluation."""
    figure = Figure(figsize=(7, 4.2), dpi=160, layout="constrained")
    axis = figure.subplots()
    for row in rows:
        losses = np.asarray(row["losses"])
        if len(losses):
            axis.plot(
                np.arange(1, len(losses) + 1), np.minimum.accumulate(losses) / losses[0], label=Path(row["file"]).stem
            )
    axis.set(yscale="log", xlabel="evaluations of loss and gradient", ylabel="best loss / first loss")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    if 0 < len(rows) <= 12:
        axis.legend(fontsize=7, frameon=False)
    return save(figure, folder / "losses")


def write_gif(snapshots: Path, path: Path) -> None:
    """Write the snapshots in a folder, in the order of their names, as an animation; the last one stays longer."""
    frames = [Image.open(file).convert("P", palette=Image.Palette.ADAPTIVE) for file in sorted(snapshots.glob("*.png"))]
    if frames:
        size = frames[-1].size
        frames = [frame if frame.size == size else frame.resize(size) for frame in frames]
        durations = [120] * (len(frames) - 1) + [1500]
        with output.replacing(path) as temporary:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def match_histogram(image: Float[np.ndarray, "h w 3"], target: Float[np.ndarray, "h w 3"]) -> np.ndarray:
    """Give each channel of `image` the distribution of values that it has in `target`."""
    from skimage.exposure import match_histograms

    return np.asarray(match_histograms(image, target, channel_axis=-1), np.float32)


def shrink(image: Float[np.ndarray, "h w 3"], factor: int) -> np.ndarray:
    """Resize to 1/`factor` of the size, antialiased."""
    return image if factor == 1 else resized(image, (image.shape[0] // factor, image.shape[1] // factor))


def resized(image: Float[np.ndarray, "h w 3"], shape: tuple[int, int]) -> np.ndarray:
    """Resize to (height, width), bicubic."""
    from skimage.transform import resize

    return np.asarray(np.clip(resize(image, shape, order=3, anti_aliasing=True), 0, 1), np.float32)
