"""train.py with one more network, which compiles in a second. Run by tests, in processes that they kill or split up."""

from flax import nnx

from sparseshape_jax import models, parallel
from sparseshape_jax.classifier.config import TrainClassifierConfig
from sparseshape_jax.cli import Job, main
from sparseshape_jax.models.layers import BatchNorm


class Small(models.Network):
    """Convolution, batch normalization, a place for Top-K, dropout, classifier."""

    def __init__(self, *, num_classes=10, trunk_only=False, dropout=0.0, axis_name=parallel.AXIS, dtype=None, rngs):
        self.architecture = "resnet_small"
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(8, axis_name=axis_name, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.fc = nnx.Linear(8, num_classes, dtype=dtype, rngs=rngs)

    def steps(self):
        yield "conv", self.conv
        yield "bn", self.bn
        yield "layer2", nnx.relu
        yield "logits", lambda x: self.fc(self.dropout(x.mean((1, 2))))


models.register(
    "resnet_small",
    models.Architecture(
        Small,
        options=frozenset({"num_classes", "dropout", "axis_name"}),
        head=("fc",),
        top_k_after=("layer2",),
        place_name="layer{}",
        torch_layers={"conv": "conv", "bn": "bn", "fc": "fc"},
    ),
)

JOBS = {"classifier": Job(TrainClassifierConfig, "sparseshape_jax.classifier.job:run")}

if __name__ == "__main__":
    raise SystemExit(main("", JOBS))
