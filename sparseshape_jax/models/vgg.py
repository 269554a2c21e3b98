"""VGG 11, 13, 16 and 19, with and without batch normalisation, as torchvision has them (Simonyan & Zisserman 2015)."""

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Literal

from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.layers import HE_NORMAL, BatchNorm, Conv, adaptive_average_pool, average_pool, max_pool
from sparseshape_jax.models.network import Network, Operator, flatten

CONVOLUTIONS = {  # depth: convolutions in each of the five blocks
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
FEATURES = (64, 128, 256, 512, 512)


class VGG(Network):
    """`torchvision.models.vgg*`. Images (N, H, W, 3), H and W at least 32, to logits (N, num_classes).

    Activations: `conv1_1`, (`bn1_1`,) `relu1_1`, …, `pool1`, …, `pool5`, `avgpool`, `fc6`, `relu6`, `fc7`, `relu7`,
    `logits`. `pooling="average"` replaces the five max pools, as Gatys et al. (2015) do for texture synthesis.
    """

    head: ClassVar = ("fc6", "fc7", "fc8")

    def __init__(
        self,
        depth: int,
        *,
        batch_norm: bool = False,
        num_classes: int = 1000,
        trunk_only: bool = False,
        pooling: Literal["max", "average"] = "max",
        dropout: float = 0.5,
        axis_name: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> None:
        if pooling not in ("max", "average"):
            raise InputError(f"pooling is {pooling!r}; it can be max or average")
        self.architecture = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
        self.depth, self.batch_norm, self.trunk_only, self.pooling = depth, batch_norm, trunk_only, pooling
        inputs = 3
        for block, (count, features) in enumerate(zip(CONVOLUTIONS[depth], FEATURES, strict=True), start=1):
            for index in range(1, count + 1):
                convolution = Conv(inputs, features, (3, 3), padding=1, kernel_init=HE_NORMAL, dtype=dtype, rngs=rngs)
                setattr(self, f"conv{block}_{index}", convolution)
                if batch_norm:
                    setattr(
                        self, f"bn{block}_{index}", BatchNorm(features, axis_name=axis_name, dtype=dtype, rngs=rngs)
                    )
                inputs = features
        if not trunk_only:
            self.dropout = nnx.Dropout(dropout, rngs=rngs)
            linear = partial(nnx.Linear, kernel_init=nnx.initializers.normal(0.01), dtype=dtype, rngs=rngs)
            self.fc6 = linear(7 * 7 * 512, 4096)
            self.fc7 = linear(4096, 4096)
            self.fc8 = linear(4096, num_classes)

    def steps(self) -> Iterator[tuple[str, Operator]]:
        pool = max_pool if self.pooling == "max" else average_pool
        for block, count in enumerate(CONVOLUTIONS[self.depth], start=1):
            for index in range(1, count + 1):
                yield f"conv{block}_{index}", getattr(self, f"conv{block}_{index}")
                if self.batch_norm:
                    yield f"bn{block}_{index}", getattr(self, f"bn{block}_{index}")
                yield f"relu{block}_{index}", nnx.relu
            yield f"pool{block}", partial(pool, window=2, stride=2)
        if self.trunk_only:
            return
        yield "avgpool", partial(adaptive_average_pool, size=7)
        yield "fc6", lambda x: self.fc6(flatten(x))
        yield "relu6", nnx.relu
        yield "fc7", lambda x: self.fc7(self.dropout(x))
        yield "relu7", nnx.relu
        yield "logits", lambda x: self.fc8(self.dropout(x))
