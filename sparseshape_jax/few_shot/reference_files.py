"""The authors' checkpoints of FastGAN, and those of FastGAN itself: reading and writing them without torch.

Source: the training scripts of Li et al. (2023) and Liu et al. (2021). `best_all_*.pth` and `all_N.pth` hold both
networks, the generator's averaged parameters as a list, and both optimizers; `best.pth` and `N.pth` hold the networks
only. Widths and sizes follow from shapes. What leaves no trace there: Top-K, which `args.txt` in the folder above
says, and whether skip-layer excitation has its sigmoid.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot.reference_keys import discriminator_table, generator_table, is_numbered
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator
from sparseshape_jax.models.fastgan_options import Excitation, Noise
from sparseshape_jax.top_k.placement import parse, place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.assign import assign, export
from sparseshape_jax.weights.read import read_tree

Arrays = Mapping[str, np.ndarray]
"""Arrays by the reference's names, in its order and layout."""

SETTINGS = "args.txt"
"""Where the authors' script keeps its settings, as JSON, in the folder above that of the checkpoints."""
POLICIES: Mapping[str, TopK | None] = {
    "TopKMaskHW": TopK(),
    "TopKMaskHWMeanReplace": TopK(mean_replace=True),
    "IdentityBase": None,
}
"""The reference's kinds of Top-K."""
COUNTED = "num_batches_tracked"
"""How many batches a batch normalization of torch's has seen. It changes nothing, but files have it."""


@dataclass(frozen=True)
class ReferenceFile:
    """What a checkpoint holds. Arrays may be read-only views."""

    generator: Arrays
    discriminator: Arrays
    average: Sequence[np.ndarray] | None = None
    """The generator's averaged parameters, in the order of its construction."""
    generator_optimizer: Mapping[str, Any] | None = None
    """As torch's `Adam.state_dict()`."""
    discriminator_optimizer: Mapping[str, Any] | None = None
    iteration: int | None = None
    performance: Mapping[str, float] | None = None
    """Distances that were measured."""

    def build_generator(
        self, *, average: bool = True, noise: Noise = "none", excitation: Excitation = "linear"
    ) -> Generator:
        """The generator, in eval mode; with `average`, and if there is one, with the averaged parameters."""
        sides = [int(name.split(".")[0].removeprefix("feat_")) for name in self.generator if name.startswith("feat_")]
        nz, twice = self.generator["init.init.0.weight_orig"].shape[:2]
        network = nnx.eval_shape(
            lambda: Generator(max(sides), twice // 32, nz, noise=noise, excitation=excitation, rngs=nnx.Rngs(0))
        )
        arrays = dict(self.generator)
        if average and self.average is not None:
            arrays |= zip(parameter_names(arrays), self.average, strict=True)
        fill_generator(network, arrays)
        network.eval()
        return network

    def build_discriminator(self, *, excitation: Excitation = "linear") -> Discriminator:
        """The discriminator, in eval mode."""
        arrays = self.discriminator
        if "down_from_big.2.weight_orig" in arrays:
            size = 1024
        elif arrays["down_from_big.0.weight_orig"].shape[-1] == 4:
            size = 512
        else:  # the first of the blocks tells
            sizes = {"down_4": 256, "down_8": 128, "down_16": 64}
            size = next(size for block, size in sizes.items() if f"{block}.main.0.weight_orig" in arrays)
        ndf = len(arrays["down_64.main.0.weight_orig"]) // 8
        width = len(arrays["decoder_big.main.1.1.weight_orig"]) // 8
        network = nnx.eval_shape(
            lambda: Discriminator(size, ndf, decoder_width=width, excitation=excitation, rngs=nnx.Rngs(0))
        )
        assign(network, _without_counts(arrays), table=discriminator_table(network))
        network.eval()
        return network


def read(path: str | os.PathLike[str]) -> ReferenceFile:
    """Read a checkpoint. `module.` may precede every name.

    Raises:
        InputError: no such file, damaged, a pickle that asks for more than arrays (nothing is run), another network's,
            two networks of different sizes, or an average of another length.
    """
    tree = read_tree(path)
    if not isinstance(tree, Mapping) or not all(isinstance(tree.get(name), Mapping) for name in "gd"):
        raise InputError(
            f"{path} is not a checkpoint of FastGAN: it has no state dicts g and d; give a best_all_*.pth, best.pth,"
            " all_N.pth or N.pth"
        )
    networks = {name: _state_dict(tree[name], f"{name} in {path}") for name in "gd"}
    average = tree.get("g_ema")
    if isinstance(average, Mapping):
        average = list(average.values())
    file = ReferenceFile(
        networks["g"],
        networks["d"],
        average,
        tree.get("opt_g"),
        tree.get("opt_d"),
        tree.get("iter"),
        tree.get("performance"),
    )
    try:
        generator, discriminator = file.build_generator(average=False), file.build_discriminator()
    except InputError as error:
        raise InputError(f"{path} does not hold FastGAN's networks: {error}") from None
    except (LookupError, ValueError, TypeError, StopIteration) as error:
        reason = f"{type(error).__name__} {error}".strip()
        raise InputError(f"{path} does not hold FastGAN's networks ({reason})") from None
    names = parameter_names(file.generator)
    if average is not None and len(average) != len(names):
        raise InputError(
            f"g_ema in {path} has {len(average)} arrays, but its generator has {len(names)} parameters; it is the"
            " average of another network"
        )
    if generator.size != discriminator.size:
        raise InputError(
            f"{path} holds a generator for {generator.size} pixels but a discriminator for {discriminator.size}"
        )
    return file


def _state_dict(tree: Mapping[str, Any], source: str) -> dict[str, np.ndarray]:
    if wrong := [name for name, array in tree.items() if not isinstance(array, np.ndarray)]:
        raise InputError(f"{source} has no array at {wrong[0]}; give a checkpoint of FastGAN")
    return {name.removeprefix("module."): array for name, array in tree.items()}


def load_generator(
    path: str | os.PathLike[str],
    *,
    top_k: str | None = None,
    noise: Noise = "none",
    excitation: Excitation = "linear",
) -> tuple[Generator, dict[str, TopK]]:
    """The generator in a checkpoint, with its averaged parameters if there are any, in eval mode; and its Top-K.

    Args:
        path: the checkpoint.
        top_k: in the paper's spelling, such as 32_5, or "None"; by default what `args.txt` in the folder above says.
            With neither, a warning says that the generator is taken for dense.
        noise: whether the generator has noise. The authors' code has none, whatever its settings say.
        excitation: "sigmoid" for a checkpoint of FastGAN's own code.

    Raises:
        InputError: as `read`; or a Top-K that cannot be placed.
    """
    generator = read(path).build_generator(noise=noise, excitation=excitation)
    template: TopK | None = TopK()
    if top_k is None:
        top_k, template = _stored_top_k(Path(path))
    if top_k == "None" or template is None:
        return generator, {}
    return generator, place(parse(top_k, generator, template=template), generator)


def _stored_top_k(path: Path) -> tuple[str, TopK | None]:
    """The spelling and the kind of the Top-K that the settings beside a checkpoint name."""
    settings = path.parent.parent / SETTINGS
    try:
        facts = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict):
        warnings.warn(
            f"nothing says whether {path} was trained with Top-K ({settings} cannot be read), so it is taken for"
            " dense; give --sparsity, such as 32_5",
            stacklevel=3,
        )
        return "None", None
    kind = facts.get("sp_hw_policy_name", "TopKMaskHW")
    if kind not in POLICIES:
        raise InputError(f"{settings} names the Top-K {kind!r}; {', '.join(POLICIES)} are known")
    return str(facts.get("sparse_hw_info")), POLICIES[kind]


def generator_arrays(generator: Generator) -> dict[str, np.ndarray]:
    """A generator's arrays, as copies."""
    return export(generator, generator_table(generator))


def fill_generator(generator: Generator, arrays: Arrays) -> None:
    """Give a generator, which may be abstract, these arrays; raises as `assign`."""
    table = generator_table(generator, numbered=is_numbered(arrays))
    assign(generator, _without_counts(arrays), table=table)


def parameter_names(arrays: Arrays) -> list[str]:
    """The names of parameters, without statistics, u and v, in the order of construction."""
    statistics = ("running_mean", "running_var", COUNTED, "weight_u", "weight_v")
    return [name for name in arrays if not name.endswith(statistics)]


def _without_counts(arrays: Arrays) -> dict[str, np.ndarray]:
    return {name: array for name, array in arrays.items() if not name.endswith(COUNTED)}


def write(file: ReferenceFile, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint whose networks the authors' code and FastGAN's load strictly; with all that `file` has.

    Raises:
        InputError: the path cannot be written.
    """
    tree = {
        "iter": file.iteration,
        "performance": file.performance,
        "g": file.generator,
        "d": file.discriminator,
        "g_ema": None if file.average is None else list(file.average),
        "opt_g": file.generator_optimizer,
        "opt_d": file.discriminator_optimizer,
    }
    torch_format.write_zip({name: value for name, value in tree.items() if value is not None}, path)
