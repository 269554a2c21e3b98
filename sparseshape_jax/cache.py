"""The user's cache: where it is, and the compiled programs in it, with which the next run of a job starts at once."""

import hashlib
import os
import platform
import sys
from pathlib import Path

LIMIT = 2 * 2**30
"""Bytes that are kept. Programs of textures hold the network's weights, 30 to 60 MB each."""
SHORTEST = 0.3
"""Seconds of compiling below which a program is not kept."""


def cache_folder() -> Path:
    """`$SPARSESHAPE_CACHE`, else `$XDG_CACHE_HOME/sparseshape_jax`, else `~/.cache/sparseshape_jax`."""
    if chosen := os.environ.get("SPARSESHAPE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sparseshape_jax"


def keep_programs() -> None:
    """Have JAX keep what it compiles. Call it before JAX is imported; afterwards it does nothing.

    JAX's own settings go first: `JAX_COMPILATION_CACHE_DIR` names another folder, and none if it is empty;
    `JAX_ENABLE_COMPILATION_CACHE=false` turns it off. JAX names a program by all that decides it (operations, shapes,
    versions, options), and one that it cannot read, it compiles again. Two runs may share the folder. Machines with
    other processors have folders of their own, because a program uses the instructions of the one it was made for.
    """
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "programs" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _shrink(folder)
    except OSError:  # a home that cannot be written, or another run that shrinks it
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", str(SHORTEST))


def _processor() -> str:
    facts = [platform.machine(), platform.processor()]
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text(errors="replace").splitlines()
        facts += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _shrink(folder: Path) -> None:
    """Delete the oldest programs until `LIMIT` is kept."""
    files = sorted(((found.stat(), found) for found in folder.iterdir()), key=lambda each: -each[0].st_mtime)
    kept = 0
    for facts, file in files:
        kept += facts.st_size
        if kept > LIMIT:
            file.unlink(missing_ok=True)
