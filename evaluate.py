"""`sparseshape evaluate` for a clone of the repository; the jobs are in sparseshape_jax/jobs/evaluate.py."""

from sparseshape_jax.cli import main
from sparseshape_jax.jobs import evaluate

if __name__ == "__main__":
    raise SystemExit(main(evaluate.__doc__ or "", evaluate.JOBS))
