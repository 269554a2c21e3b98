"""Forward passes over all devices: from images to logits or named activations, at any Top-K."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from sparseshape_jax import output, parallel
from sparseshape_jax.data.loader import Batch, Loader
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.operator import kept
from sparseshape_jax.top_k.spec import TopK

ImageBatch = UInt8[np.ndarray, "n h w 3"]
Logits = Callable[[ImageBatch], Float[np.ndarray, "n classes"]]
Placement = Mapping[str, TopK]
"""Which Top-K follows which activation, as `top_k.placement.place` returns it."""
Reduce = Callable[[Float[Array, "n ..."]], Float[Array, "n ..."]]
"""From an activation to what is wanted of it, for each image on its own."""


class Predictor:
    """Runs one network over batches of images, split over this process's devices.

    A program is compiled for each set of activations with Top-K and for each image size. The numbers of entries that
    Top-K keeps are arguments of it, so that all keep fractions share one program: on a CPU, compiling once is worth
    more than a constant k (`benchmarks/evaluation.py`). On accelerators, where `lax.top_k` with a traced k would sort
    whole rows, each fraction has a program of its own.

    Args:
        network: in eval mode.
        preprocessing: how the network wants its pixels.
        traced: whether k is an argument of the programs; by default only on a CPU.
    """

    def __init__(self, network: Network, preprocessing: Preprocessing, *, traced: bool | None = None) -> None:
        self.network, self.preprocessing = network, preprocessing
        self.traced = parallel.on_cpu() if traced is None else traced
        self._graphdef, state = nnx.split(network)
        self._state = parallel.place_shared(state)
        self._programs: dict[Any, Callable[..., dict[str, Array]]] = {}
        self._shapes: dict[tuple[int, ...], dict[str, tuple[int, ...]]] = {}

    def update(self, network: Network) -> None:
        """Use the weights of another network with the same structure from now on, without compiling again."""
        self._state = parallel.place_shared(nnx.state(network))

    def logits(self, at: Placement | None = None) -> Logits:
        """The function from images of 8 bits a channel, (N, H, W, 3), to (N, classes) float32 logits.

        Raises:
            InputError: Top-K after something other than a feature map; when called, images of a wrong size.
        """
        last = self.network.names[-1]
        function = self.activations((last,), at)
        return lambda images: function(images)[last].astype(np.float32)

    def activations(
        self, names: Iterable[str], at: Placement | None = None, *, reduce: Reduce | None = None
    ) -> Callable[[ImageBatch], dict[str, np.ndarray]]:
        """The function from images (N, H, W, 3) of 8 bits a channel to the activations called `names`, (N, …) each.

        Args:
            names: of activations; nothing beyond the last one is computed.
            at: which Top-K follows which activation.
            reduce: applied to each activation on the device, image by image, such as a mean over the positions. Pass
                the same function each time: another one is another program.

        Raises:
            InputError: an unknown name, or Top-K after something other than a feature map; when called, images of a
                wrong size.
        """
        wanted, at = tuple(names), dict(at or {})
        self.network.check_names((*wanted, *at))
        side = self.preprocessing.crop
        self._counts(at, (side, side, 3))  # refuses a place without a feature map before there are images

        def call(images: ImageBatch) -> dict[str, np.ndarray]:
            self.network.check_input(images)  # normalizing would spread one channel over three
            counts = self._counts(at, images.shape[1:])
            program = self._program(wanted, at, reduce)
            at_once = parallel.images_in_memory(len(images), images.shape[1:3])
            parts = []
            for part in np.split(images, len(images) // at_once):
                found = program(self._state, counts if self.traced else {}, part)
                parts.append({name: np.asarray(found[name]) for name in wanted})  # JAX has sorted them
            if len(parts) == 1:  # without another copy
                return parts[0]
            return {name: np.concatenate([part[name] for part in parts]) for name in wanted}

        return call

    def mean_activations(
        self,
        batches: Iterable[Batch],
        names: Iterable[str],
        at: Placement | None = None,
        *,
        reduce: Reduce | None = None,
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The means over the images of a loader's batches, summed in float64; the rest is as in `activations`.

        Raises:
            InputError: as `activations`, while loading, or no image that can be decoded.
        """
        function = self.activations(names, at, reduce=reduce)
        sums: dict[str, Any] = {}
        count = 0
        for batch in batches:
            valid = len(batch.indices)
            for name, values in function(batch.images).items():
                sums[name] = sums.get(name, 0.0) + values[:valid].sum(axis=0, dtype=np.float64)
            count += valid
        if not count:
            raise InputError("no image could be decoded, so there are no mean activations; give other images")
        return {name: total / count for name, total in sums.items()}

    def save_activations(
        self, path: Path, loader: Loader, name: str, at: Placement | None = None, *, reduce: Reduce | None = None
    ) -> None:
        """Write one activation of all images of a loader to a `.npy` file (images, …), all or nothing.

        The array is written batch by batch and never held in memory. Images that the loader leaves out, because they
        are bad or not of its part, have rows of NaN. NumPy's files have no bfloat16, so that is written as float32.

        Raises:
            InputError: as `activations`, while loading, no image that can be decoded, or a path that cannot be written.
        """
        function = self.activations((name,), at, reduce=reduce)
        with output.replacing(path) as temporary:
            array: np.memmap | None = None
            left_out = np.ones(len(loader.images), bool)
            for batch in loader:
                values = function(batch.images)[name]
                if array is None:
                    dtype = values.dtype if np.issubdtype(values.dtype, np.floating) else np.dtype(np.float32)
                    shape = (len(left_out), *values.shape[1:])
                    array = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
                array[batch.indices] = values[: len(batch.indices)]
                left_out[batch.indices] = False
            if array is None:
                raise InputError(f"none of the {len(left_out)} images of {loader.images.name} can be decoded")
            array[left_out] = np.nan
            array.flush()

    def _program(
        self, names: tuple[str, ...], at: Mapping[str, TopK], reduce: Reduce | None
    ) -> Callable[..., dict[str, Array]]:
        # Where k is an argument of the program, the fraction does not matter to it.
        fixed: dict[str, Any] = {"fraction": 0.5, "after": None} if self.traced else {"after": None}
        at = {name: replace(spec, **fixed) for name, spec in at.items()}
        key = (names, tuple(at.items()), reduce)
        if key not in self._programs:

            def forward(state: Any, counts: dict[str, Array], images: UInt8[Array, "n h w 3"]) -> dict[str, Array]:
                def operator(name: str, spec: TopK) -> Callable[[Array], Array]:
                    return lambda x: spec(x, k=counts.get(name))

                network = nnx.merge(self._graphdef, state, copy=True)
                operators = {name: operator(name, spec) for name, spec in at.items()}
                found = network.activations(self.preprocessing.from_bytes(images), names, at=operators)
                return found if reduce is None else {name: reduce(x) for name, x in found.items()}

            self._programs[key] = parallel.map_batch(forward, shared=(0, 1))
        return self._programs[key]

    def _counts(self, at: Mapping[str, TopK], image: tuple[int, ...]) -> dict[str, np.int32]:
        """For each activation, how many entries its Top-K keeps, for images of shape (H, W, 3)."""
        if not at:
            return {}
        if image not in self._shapes:
            images = jax.ShapeDtypeStruct((1, *image), jnp.result_type(float))
            found = jax.eval_shape(lambda x: self.network.activations(x, self.network.names), images)
            self._shapes[image] = {name: shape.shape for name, shape in found.items()}
        shapes = self._shapes[image]
        for name in at:
            if len(shapes[name]) != 4:
                raise InputError(f"Top-K cannot be placed after {name}, which is not a feature map")
        return {name: np.int32(kept(shapes[name], spec.fraction, spec.scope)) for name, spec in at.items()}
