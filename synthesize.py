"""`sparseshape synthesize` for a clone of the repository; the jobs are in sparseshape_jax/jobs/synthesize.py."""

from sparseshape_jax.cli import main
from sparseshape_jax.jobs import synthesize

if __name__ == "__main__":
    raise SystemExit(main(synthesize.__doc__ or "", synthesize.JOBS))
