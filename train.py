"""Train networks with Top-K inside."""

from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.cli import Job, main

JOBS = {
    "classifier": Job(
        TrainClassifierConfig,
        "sparseshape_jax.classifier.job:run",
        examples="train.py classifier --config configs/classifier/tiny.yaml --data.path cifar10",
    ),
}

if __name__ == "__main__":
    raise SystemExit(main(__doc__ or "", JOBS))
