"""A section's own process: `python -m sparseshape_jax.jobs.reproduce.child evaluate shape-bias …`.

It ends when the process that started it does, even if that one was killed: two runs of a section must not write to the
same folder.
"""

import os
import sys
import threading

from sparseshape_jax.jobs.console import main


def _end_with_parent() -> None:
    """Wait for the end of standard input, whose other end the parent holds, and leave."""
    os.read(0, 1)
    os._exit(130)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    raise SystemExit(main(sys.argv[1:]))
