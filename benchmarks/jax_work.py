"""What is timed on this package's side in several benchmarks: a network's forward pass, and a training step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sparseshape_jax import TopK, parallel
from sparseshape_jax.classifier.step import ClassifierStep
from sparseshape_jax.models import Network, build
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.training.config import OptimizerConfig, ScheduleConfig
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.training.schedules import learning_rate

OPTIMIZER = OptimizerConfig(learning_rate=0.01, momentum=0.9, weight_decay=5e-4)


def random_network(name: str, **options: Any) -> Network:
    """A network with random weights. Compiled, because drawing weights one by one takes long."""
    return nnx.jit(lambda: build(name, rngs=nnx.Rngs(0), **options))()


class Forward:
    """A network on `images`, (N, H, W, 3), at each call; a `fraction` below 1 means Top-K at the network's places."""

    def __init__(self, name: str, images: np.ndarray, fraction: float, **options: Any) -> None:
        network = random_network(name, **options)
        network.eval()
        at = place(TopK(fraction), network)
        graphdef, self.state = nnx.split(network)
        self.images = jnp.asarray(images)
        lowered = jax.jit(lambda state, x: nnx.merge(graphdef, state, copy=True)(x, at=at)).lower(
            self.state, self.images
        )
        self.flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
        """Floating-point operations, as XLA counts them before it compiles."""
        self.compiled = lowered.compile()

    def __call__(self) -> Any:
        return self.compiled(self.state, self.images).block_until_ready()


def training_step(
    batch: tuple[np.ndarray, np.ndarray], fraction: float, *, classes: int, model: str = "resnet18"
) -> Callable[[], Any]:
    """A call that takes the next step on all devices: what `train.py classifier` compiles, Top-K after `layer2`.

    Args:
        batch: images as bytes, (N, H, W, 3), and labels.
        fraction: keep fraction; 1 for a dense network.
        classes: how many.
        model: a ResNet.
    """
    network = random_network(model, num_classes=classes, axis_name=parallel.AXIS)
    side = batch[0].shape[1]
    rate = learning_rate(ScheduleConfig(kind="constant"), OPTIMIZER.learning_rate, epochs=1, steps_per_epoch=1)
    stepper = ClassifierStep(network, Preprocessing(resize=side, crop=side), build_optimizer(OPTIMIZER, rate))
    at = place(TopK(fraction, after=("layer2",)), network)
    step = parallel.data_parallel(stepper.train(lambda _: at), donate=True)
    state = parallel.replicate(stepper.start())

    def call() -> Any:
        nonlocal state
        state, metrics = step(state, batch, np.float32(1))
        return jax.block_until_ready((state, metrics))

    return call
