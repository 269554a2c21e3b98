"""All that this package computes, timed on the devices of this machine in one command, without data or weights.

    python benchmarks/accelerator.py --out measured.json

For a GPU or a TPU; it runs on a CPU, too, with `--small` in a few minutes. First come the device's own limits,
measured: bytes per second of a copy, floating-point operations per second of a matrix product.
Then Top-K by each method, whole networks, training steps on all devices, and evaluations of a texture's loss and
gradient. Each row has its share of the limit that binds it: Top-K of the bandwidth (its input read once and its output
written once), the others of the products. Where torch has the same device, its way to do Top-K (`torch.topk` and
scatter) stands beside ours.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_work import Forward, random_network, training_step

from sparseshape_jax import TopK, keep_top_k
from sparseshape_jax.output import replacing
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.synthesis.jobs import layers_to_match
from sparseshape_jax.synthesis.objective import Objective, terms_for
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.synthesis.runner import Runner

try:
    import torch
    from torch_reference import torch_top_k
except ModuleNotFoundError:
    torch = None  # type: ignore[assignment]

SHAPES = ((112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (55, 55, 64), (32, 32, 128))
"""Maps after VGG16's first four pools, after SqueezeNet's first, and where FastGAN's generator has its Top-K."""
FRACTIONS = (0.05, 0.2, 0.5)
METHODS = ("top_k", "threshold")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    maps: int = 32
    """Images of a Top-K."""
    shapes: tuple[tuple[int, int, int], ...] = SHAPES
    copied: int = 2**28
    """Bytes of the array whose copy measures the bandwidth."""
    product: int = 4096
    """Side of the matrices whose product measures the operations per second."""
    networks: tuple[str, ...] = ("squeezenet1_1", "alexnet", "resnet50", "vgg16")
    side: int = 224
    batch: int = 64
    trained: tuple[tuple[str, int, int], ...] = (("resnet18", 32, 256), ("resnet18", 64, 256), ("resnet50", 224, 32))
    """Networks that are trained, the side of their images, and how many a device has."""
    textures: tuple[int, ...] = (1, 16)
    """Textures that are made at once."""


SMALL = Scale(
    maps=2,
    shapes=((28, 28, 16), (14, 14, 32)),
    copied=2**22,
    product=256,
    networks=("squeezenet1_1",),
    side=64,
    batch=2,
    trained=(("resnet18", 32, 4),),
    textures=(1, 2),
)


@dataclass(frozen=True)
class Row:
    """What was measured."""

    what: str
    kept: float | None
    """Keep fraction; 1 is dense, and None where there is no Top-K."""
    dtype: str
    milliseconds: float
    per_second: float
    """Images, or evaluations."""
    share: float | None
    """Of the device's bandwidth or operations per second, which is larger on several devices; None if not counted."""
    torch_ratio: float | None = None
    """torch's time / ours."""


def seconds(call: Callable[[], Any], rounds: int) -> float:
    """The median time of a call that waits for its result; the first one, which compiles, is left out."""
    call()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def bandwidth(scale: Scale, rounds: int) -> float:
    """Bytes per second that a copy reads and writes."""
    x = jnp.ones(scale.copied // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * x.nbytes / seconds(lambda: copy(x).block_until_ready(), rounds)


def operations(scale: Scale, dtype: str, rounds: int) -> float:
    """Floating-point operations per second of a matrix product at JAX's default precision."""
    x = jnp.ones((scale.product, scale.product), dtype)
    product = jax.jit(jnp.matmul)
    return 2 * scale.product**3 / seconds(lambda: product(x, x).block_until_ready(), rounds)


def torch_device() -> str | None:
    """torch's name of the device that JAX uses, if it has it."""
    if torch is None:
        return None
    if jax.default_backend() == "gpu":
        return "cuda" if torch.cuda.is_available() else None
    return "cpu" if jax.default_backend() == "cpu" else None


def torch_seconds(x: np.ndarray, fraction: float, dtype: str, device: str, rounds: int) -> float:
    """The reference's Top-K in torch, of an (N, H, W, C) array in torch's layout."""
    theirs = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))).to(device, getattr(torch, dtype))

    def call() -> None:
        torch_top_k(theirs, fraction)
        if device == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        return seconds(call, rounds)


def top_k_rows(scale: Scale, limit: float, rounds: int) -> Iterator[Row]:
    device = torch_device()
    for shape in scale.shapes:
        # A rectified feature map: half of it is zero.
        x = np.maximum(np.random.default_rng(0).normal(size=(scale.maps, *shape)), 0).astype(np.float32)
        for dtype in DTYPES:
            ours = jnp.asarray(x, dtype)
            for fraction in FRACTIONS:
                theirs = torch_seconds(x, fraction, dtype, device, rounds) if device else None
                for method in METHODS:
                    sparse = jax.jit(partial(keep_top_k, fraction=fraction, method=method))
                    time_of = seconds(lambda sparse=sparse, x=ours: sparse(x).block_until_ready(), rounds)
                    name = f"Top-K {method} {'×'.join(map(str, ours.shape))}"
                    share = 2 * ours.nbytes / time_of / limit
                    ratio = theirs / time_of if theirs else None
                    yield Row(name, fraction, dtype, 1e3 * time_of, scale.maps / time_of, share, ratio)


def network_rows(scale: Scale, limits: dict[str, float], rounds: int) -> Iterator[Row]:
    images = np.random.default_rng(0).normal(size=(scale.batch, scale.side, scale.side, 3)).astype(np.float32)
    for name in scale.networks:
        for dtype in DTYPES:
            dense = Forward(name, images, 1.0, dtype=jnp.dtype(dtype))
            for fraction in (1.0, 0.2):
                call = dense if fraction == 1 else Forward(name, images, fraction, dtype=jnp.dtype(dtype))
                time_of = seconds(call, rounds)
                share = dense.flops / time_of / limits[dtype] if dense.flops else None
                yield Row(f"{name} forward", fraction, dtype, 1e3 * time_of, scale.batch / time_of, share)


def training_rows(scale: Scale, limits: dict[str, float], rounds: int) -> Iterator[Row]:
    """The step on all devices; a backward pass counts as two forward ones."""
    devices, classes = jax.device_count(), 10
    rng = np.random.default_rng(0)
    for name, side, each in scale.trained:
        batch = rng.integers(0, 256, (each * devices, side, side, 3), np.uint8), np.zeros(each * devices, np.int32)
        flops = 3 * Forward(name, batch[0][:1].astype(np.float32), 1.0, num_classes=classes).flops * len(batch[0])
        for fraction in (1.0, 0.2):
            time_of = seconds(training_step(batch, fraction, classes=classes, model=name), rounds)
            share = flops / time_of / devices / limits["float32"] if flops else None
            title = f"{name} step, {side}×{side}, {each} on each of {devices} device{'s' if devices > 1 else ''}"
            yield Row(title, fraction, "float32", 1e3 * time_of, len(batch[0]) / time_of, share)


def texture_rows(scale: Scale, limits: dict[str, float], rounds: int) -> Iterator[Row]:
    """Loss and gradient of a texture from VGG16's trunk, for one image and for several at once."""
    network = random_network("vgg16", trunk_only=True)
    network.eval()
    objective = Objective(terms_for("texture", layers_to_match(network, None)), TopK(1.0))
    runner = Runner(network, Preprocessing(), objective, Parameterization("sigmoid", 1.0), lbfgs(history=10))
    rng = np.random.default_rng(0)
    shape = (scale.side, scale.side, 3)
    one = Forward("vgg16", rng.normal(size=(1, *shape)).astype(np.float32), 1.0, trunk_only=True)
    for count in scale.textures:
        images = rng.random((count, *shape), np.float32)
        problem = runner.problem({"image": images}, rng.normal(size=images.shape).astype(np.float32), ("all",) * count)
        time_of = seconds(
            lambda problem=problem: jax.block_until_ready(runner.value_and_grad(problem.start, problem)), rounds
        )
        share = 2 * one.flops * count / time_of / limits["float32"] if one.flops else None
        yield Row(f"texture, loss and gradient of {count}", None, "float32", 1e3 * time_of, count / time_of, share)


def print_row(row: Row) -> None:
    kept = "" if row.kept is None else "dense" if row.kept == 1 else f"{row.kept:.0%}"
    share = "" if row.share is None else f"{row.share:.1%}"
    ratio = "" if row.torch_ratio is None else f"{row.torch_ratio:.2f}"
    print(f"{row.what:<58} {kept:>5} {row.dtype:>8} {row.milliseconds:9.2f} {row.per_second:10.1f} ", end="")
    print(f"{share:>7} {ratio:>6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the table (default: none is written)")
    parser.add_argument("--rounds", type=int, default=10, help="calls that are timed, each (default: 10)")
    parser.add_argument("--small", action="store_true", help="small arrays and networks, to see that it runs")
    options = parser.parse_args()
    scale, rounds = SMALL if options.small else Scale(), options.rounds

    first = jax.devices()[0]
    device = {
        "platform": first.platform,
        "kind": first.device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "backend": first.client.platform_version.splitlines()[0],
        "torch": torch.__version__ if torch is not None and torch_device() else None,
    }
    print(", ".join(f"{name} {value}" for name, value in device.items() if value is not None))
    limit = bandwidth(scale, rounds)
    limits = {dtype: operations(scale, dtype, rounds) for dtype in DTYPES}
    speeds = ", ".join(f"{value / 1e12:.2f} TFLOP/s in {dtype}" for dtype, value in limits.items())
    print(f"measured limits: {limit / 1e9:.0f} GB/s, {speeds}\n")
    print(f"{'':<58} {'kept':>5} {'dtype':>8} {'ms':>9} {'per second':>10} {'share':>7} {'torch':>6}")

    rows = []
    for part in (
        top_k_rows(scale, limit, rounds),
        network_rows(scale, limits, rounds),
        training_rows(scale, limits, rounds),
        texture_rows(scale, limits, rounds),
    ):
        for row in part:
            print_row(row)
            rows.append(row)
    if options.out:
        found = {
            "device": device,
            "bytes_per_second": limit,
            "operations_per_second": limits,
            "rows": [asdict(row) for row in rows],
        }
        with replacing(options.out) as temporary:
            temporary.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"\nthe table is in {options.out}")


if __name__ == "__main__":
    main()
