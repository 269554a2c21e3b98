"""Train networks with Top-K inside."""

from sparseshape_jax.cli import Job, main
from sparseshape_jax.training.config import Classifier

JOBS = {
    "classifier": Job(
        Classifier,
        "sparseshape_jax.training.job:run",
        examples="train.py classifier --config configs/classifier/tiny.yaml --data.path cifar10",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS))
