"""`sparseshape train` for a clone of the repository; the jobs are in sparseshape_jax/jobs/train.py."""

from sparseshape_jax.cli import main
from sparseshape_jax.jobs import train

if __name__ == "__main__":
    raise SystemExit(main(train.__doc__ or "", train.JOBS))
