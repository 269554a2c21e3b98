"""How the authors' files name the layers of FastGAN's networks.

Source: the state dicts of the repositories of Li et al. (2023) and of FastGAN (Liu et al. 2021), which name the blocks
with noise in one of two ways. Sizes of 64 and 128 pixels, which they do not have, follow the same pattern.
"""

from collections.abc import Mapping

import numpy as np

from sparseshape_jax.models.fastgan import EXCITED, NOISY, Generator
from sparseshape_jax.models.fastgan_discriminator import EXCITED_BY, Discriminator
from sparseshape_jax.weights.keys import TORCHVISION_NAMES, Convention, KeyTable

SPECTRAL = Convention(
    "spectral_norm",
    ".",
    {"kernel": "weight_orig", "u": "weight_u", "v": "weight_v"}
    | {own: theirs for own, theirs in TORCHVISION_NAMES.arrays.items() if own != "kernel"},
    torch_layout=True,
)
"""A layer's arrays, with torch's older spectral normalization."""

NAMED = {name: name for name in ("conv1", "noise1", "bn1", "conv2", "noise2", "bn2")}
"""Layers of a block with noise, where the noise is switched off."""
NUMBERED = dict(zip(("1", "2", "3", "5", "6", "7"), NAMED, strict=True))
"""The same where it is on."""


def generator_table(generator: Generator, *, numbered: bool | None = None) -> KeyTable:
    """The names of a generator's layers, in the order of their construction.

    Args:
        generator: gives the size.
        numbered: whether layers of blocks with noise have numbers for names; by default if the generator has noise.
    """
    noisy = NUMBERED if (generator.noise == "learned" if numbered is None else numbered) else NAMED
    layers = {"init.init.0": "feat_4.conv", "init.init.1": "feat_4.bn"}

    def block(side: int) -> dict[str, str]:
        names = noisy if side in NOISY else {"1": "conv", "2": "bn"}
        return {f"feat_{side}.{theirs}": f"feat_{side}.{ours}" for theirs, ours in names.items()}

    def excitation(side: int) -> dict[str, str]:
        return _excitation(f"se_{side}", f"excite_{side}") if side in EXCITED else {}

    sides = generator.sides[1:]
    for side in sides:
        layers |= block(side) if side <= 256 else {}
    for side in sides:
        layers |= excitation(side) if side <= 256 else {}
    layers |= {f"to_{generator.small_side}": "to_small", "to_big": "to_big"}
    for side in sides:
        layers |= block(side) | excitation(side) if side > 256 else {}
    return KeyTable(generator.architecture, SPECTRAL, layers)


def discriminator_table(discriminator: Discriminator) -> KeyTable:
    """The names of a discriminator's layers, in the order of their construction."""
    layers = {"down_from_big.0": "stem.conv1"}
    if discriminator.size == 1024:
        layers |= {"down_from_big.2": "stem.conv2", "down_from_big.3": "stem.bn2"}
    parts = {"main.0": "conv1", "main.1": "bn1", "main.3": "conv2", "main.4": "bn2"}
    parts |= {"direct.1": "direct", "direct.2": "direct_bn"}
    for number in discriminator.numbers:
        layers |= {f"down_{number}.{theirs}": f"down_{number}.{ours}" for theirs, ours in parts.items()}
    layers |= {"rf_big.0": "rf_big.conv1", "rf_big.1": "rf_big.bn", "rf_big.3": "rf_big.conv2"}
    for number, source in EXCITED_BY.items():
        if source >= discriminator.numbers[0] // 2:
            layers |= _excitation(f"se_{source}_{number}", f"excite_{number}")
    layers["down_from_small.0"] = "from_small.conv0"
    for index in range(1, discriminator.from_small.count):
        block = f"down_from_small.{index + 1}.main"
        layers |= {f"{block}.0": f"from_small.conv{index}", f"{block}.1": f"from_small.bn{index}"}
    layers["rf_small"] = "rf_small"
    ups = discriminator.decoder_big.count
    for name in ("decoder_big", "decoder_part", "decoder_small"):
        for index in range(1, ups + 1):
            layers |= {f"{name}.main.{index}.{n}": f"{name}.up{index}.{ours}" for n, ours in ((1, "conv"), (2, "bn"))}
        layers[f"{name}.main.{ups + 1}"] = f"{name}.conv"
    return KeyTable(discriminator.architecture, SPECTRAL, layers)


def _excitation(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.main.1": f"{ours}.conv1", f"{theirs}.main.3": f"{ours}.conv2"}


def is_numbered(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a generator's arrays have numbers where others have `conv1`, …."""
    return "feat_8.1.weight_orig" in arrays
