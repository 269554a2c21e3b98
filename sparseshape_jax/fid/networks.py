"""The two networks whose features are compared, and what the distances are called with each.

`inception` gives the FID and the KID. `vgg16` serves where FID's weights are not at hand: its distances are called
`vgg16-fid@128` and `vgg16-kid@128`, after the side of the images, and are no FID.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from sparseshape_jax import downloads, parallel
from sparseshape_jax.errors import InputError
from sparseshape_jax.fid.protocols import Pixels, Protocol, Values, bicubic
from sparseshape_jax.models import Network
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import load
from sparseshape_jax.weights.locate import cached
from sparseshape_jax.weights.read import read_arrays

INCEPTION = "inception_fid"
OPTION = "--inception FILE (or measure with --features vgg16, which is no FID)"
VGG16_SIDE = 128
"""Most pixels on a side of vgg16's images."""

FeatureName = Literal["inception", "vgg16"]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network whose features are compared."""

    name: FeatureName
    sha256: str
    """Of its weights' file."""
    dimension: int
    """How many features an image has."""
    function: Callable[[Float[np.ndarray, "n h w 3"]], Float[Array, "n d"]]
    """From prepared images to features, (n, dimension), float32; compiled, over all devices of this process."""
    normalize: Callable[[Values], Values] | None = None
    """How vgg16 wants its pixels in [0, 1]; of Inception the protocol decides."""

    def prepare(self, image: Pixels, protocol: Protocol) -> Float[np.ndarray, "h w 3"]:
        """An image as the network's input.

        vgg16 sees at most 128×128 pixels: a longer side is brought to 128 by PIL's bicubic, a shorter one is left.
        """
        if self.normalize is None:
            return protocol.prepare(image)
        values = protocol.to_pixels(image)
        height, width = (min(size, VGG16_SIDE) for size in values.shape[:2])
        if values.shape[:2] != (height, width):
            values = bicubic(values, height, width)
        return self.normalize(values / np.float32(protocol.scale))

    def distances(self, size: int | None = None) -> tuple[str, str]:
        """The names of the Fréchet and of the kernel distance.

        Args:
            size: the side of the images in pixels; vgg16's names contain it. None for larger than 128, or any.
        """
        if self.name == "inception":
            return "fid", "kid"
        side = VGG16_SIDE if size is None else min(size, VGG16_SIDE)
        return f"vgg16-fid@{side}", f"vgg16-kid@{side}"

    def check(self, protocol: Protocol) -> None:
        """Raise `InputError` for a protocol that says how Inception's input is resized, if this is not Inception."""
        if self.name == "vgg16" and protocol.name not in ("clean", "paper"):
            raise InputError(
                f"protocol {protocol.name} says how Inception's input is resized, and vgg16 has its own way;"
                " choose clean or paper, or --features inception"
            )


def feature_network(name: FeatureName = "inception", *, file: str | os.PathLike[str] | None = None) -> FeatureNetwork:
    """Load a network with its weights, and compile it on first use.

    Args:
        name: `inception` (2048 features: the means of its last block) or `vgg16` (512: the means of relu5_3).
        file: FID's Inception weights; without it they come from the cache, or are downloaded.

    Raises:
        InputError: an unknown name, no such file, other weights than the published ones (torchvision's are another
            network), or no connection.
    """
    if name == "inception":
        if file is not None:
            check_inception(Path(file))
        elif not cached(CATALOG[INCEPTION]):
            _download()
        loaded = load(INCEPTION, weights=file)
        return FeatureNetwork("inception", loaded.sha256, 2048, _compiled(loaded.network, "avgpool"))
    if name != "vgg16":
        raise InputError(f"there are no features {name!r}; choose inception or vgg16")
    loaded = load("vgg16_lpips")
    function = _compiled(loaded.network, "relu5_3")
    normalize = cast(Callable[[Values], Values], loaded.preprocessing.normalize)  # of NumPy's arrays as of JAX's
    return FeatureNetwork("vgg16", loaded.sha256, 512, function, normalize)


def available_network(file: str | os.PathLike[str] | None = None) -> FeatureNetwork:
    """Inception if `file` has its weights or the cache does, else vgg16 with a warning; nothing is downloaded."""
    if file is not None or cached(CATALOG[INCEPTION]):
        return feature_network("inception", file=file)
    warnings.warn(
        "there are no weights of FID's Inception here, so vgg16's features are compared, which give no FID;"
        f" python -m sparseshape_jax.weights fetch {INCEPTION}, or give the file, for the FID",
        stacklevel=2,
    )
    return feature_network("vgg16")


def check_inception(path: Path) -> None:
    """Refuse a file that is not the published one.

    Raises:
        InputError: as in `feature_network`.
    """
    arrays = read_arrays(path)  # says what is wrong with a file that holds no weights
    expected = CATALOG[INCEPTION].sha256
    if downloads.matches(digest := downloads.sha256(path), expected):
        return
    if any(name.startswith("AuxLogits") for name in arrays) or arrays.get("fc.bias", np.zeros(0)).size == 1000:
        raise InputError(
            f"{path} has torchvision's Inception, which is another network than FID's; give"
            f" {CATALOG[INCEPTION].file_name}"
        )
    raise InputError(
        f"{path} is not FID's Inception: its SHA-256 is {digest[:8]}…, not {expected}…; give"
        f" {CATALOG[INCEPTION].file_name} or pt_inception-2015-12-05-{expected}.pth"
    )


def _download() -> None:
    entry = CATALOG[INCEPTION]
    assert entry.url is not None
    downloads.download(entry.url, entry.sha256, option=OPTION)


def _compiled(network: Network, name: str) -> Callable[[Float[np.ndarray, "n h w 3"]], Float[Array, "n d"]]:
    """The mean over the positions of an activation; in full precision on accelerators, too."""
    graphdef, state = nnx.split(network)
    state = parallel.place_shared(state)

    def forward(state: Any, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        with jax.default_matmul_precision("highest"):
            found = nnx.merge(graphdef, state, copy=True).activations(images, (name,))[name]
        return found.mean(axis=(1, 2)) if found.ndim == 4 else found

    program = parallel.map_batch(forward, shared=(0,))
    return lambda images: program(state, images)
