"""Train networks: classifiers with Top-K inside, and decoders that restyle photographs."""

from sparseshape_jax.adain.config import TrainAdaINConfig
from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.cli import Job, Jobs

JOBS: Jobs = {
    "classifier": Job(
        TrainClassifierConfig,
        "sparseshape_jax.classifier.job:run",
        examples="--config configs/classifier/tiny.yaml --data.path cifar10",
    ),
    "adain": Job(
        TrainAdaINConfig,
        "sparseshape_jax.adain.job:run",
        examples="--config configs/adain/small.yaml --content photos --style paintings",
    ),
}
