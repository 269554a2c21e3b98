"""Train networks: classifiers and few-shot generators with Top-K inside, and decoders that restyle photographs."""

from sparseshape_jax.adain.config import TrainAdaINConfig
from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.cli import Job, Jobs
from sparseshape_jax.few_shot.config import TrainFewShotConfig

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
    "few-shot": Job(
        TrainFewShotConfig,
        "sparseshape_jax.few_shot.job:run",
        examples="--config configs/few_shot/tiny.yaml --data.path jeep",
    ),
}
