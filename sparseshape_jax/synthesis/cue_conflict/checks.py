"""What is checked: whether pictures are fit to be sources, and how close stimuli come to theirs."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from sparseshape_jax import parallel
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.observers.categories import CATEGORIES
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.synthesis.cue_conflict.sources import Pictures, Source
from sparseshape_jax.synthesis.objective import KEEPS, Objective, gram_matrix
from sparseshape_jax.weights.load import Loaded

CELLS = 4
"""Cells along each side of a texture, when it is looked at whether it fills the frame."""
TOLERANCE = 0.5
"""How far a cell's Gram matrix may be from the whole picture's: the squared distance, as a fraction of the whole's."""
MOSTLY = 0.6
"""The share of cells within the tolerance from which on a texture counts as filling the frame: at VGG16's relu3_1, six
photographs of textures had from 0.69 to 1, eleven of objects from 0 to 0.56."""

Residuals = Callable[
    [UInt8[np.ndarray, "n side side 3"], UInt8[np.ndarray, "n side side 3"], UInt8[np.ndarray, "n side side 3"]],
    Float[np.ndarray, "n terms"],
]


def residuals(loaded: Loaded, objective: Objective) -> Residuals:
    """A function from stimuli, contents and styles to each stimulus's loss by term."""
    graphdef, state = nnx.split(loaded.network)
    state = parallel.place_shared(state)

    def losses(state: nnx.State, images: dict[str, Array]) -> Array:
        network = nnx.merge(graphdef, state, copy=True)
        normalized = {name: loaded.preprocessing.from_bytes(pixels) for name, pixels in images.items()}
        keep = jnp.full(len(normalized["stimulus"]), KEEPS.index("all"))
        targets = objective.targets(network, normalized, keep)
        return objective.term_losses(network, normalized["stimulus"], targets, keep)

    program = parallel.map_batch(losses, shared=(0,))
    return lambda stimuli, contents, styles: np.asarray(
        program(state, {"stimulus": stimuli, "content": contents, "style": styles})
    )


def cell_distances(activation: Float[Array, "n h w c"]) -> Float[Array, "n cells"]:
    """How far the Gram matrix of each of 4×4 cells is from the whole activation's: ‖G_cell - G‖² / ‖G‖²."""
    height, width = (extent // CELLS for extent in activation.shape[1:3])
    whole = gram_matrix(activation)
    cells = [
        gram_matrix(activation[:, row * height : (row + 1) * height, column * width : (column + 1) * width])
        for row in range(CELLS)
        for column in range(CELLS)
    ]
    distances = [jnp.sum((cell - whole) ** 2, axis=(1, 2)) / jnp.sum(whole**2, axis=(1, 2)) for cell in cells]
    return jnp.stack(distances, axis=1)


def filled_shares(loaded: Loaded, layer: str, styles: Sequence[Source]) -> dict[Source, float]:
    """The share of each texture's cells that look like the whole: 1 where it fills the frame evenly.

    Gram matrices are taken at `layer`. A picture of an object on a background has cells of both.
    """
    distances = Predictor(loaded.network, loaded.preprocessing).activations((layer,), reduce=cell_distances)
    shares = {}
    for style in tqdm(styles, unit="image", desc="does it fill the frame?", leave=False):
        found = distances(style.pixels[None])[layer]
        shares[style] = float(np.mean(found <= TOLERANCE))
    return shares


def recognized_as(loaded: Loaded, pictures: Pictures, sources: Sequence[Source]) -> dict[Source, str]:
    """Which of the 16 categories a classifier takes each picture for; pictures of other categories are not asked for.

    Raises:
        InputError: the classifier is none for ImageNet.
    """
    if not set(pictures.classes) & set(CATEGORIES):
        return {}
    logits = Predictor(loaded.network, loaded.preprocessing).logits()
    found: dict[Source, str] = {}
    loader = Loader(pictures, loaded.preprocessing, batch_size=8)
    for batch in tqdm(loader, total=-(-len(sources) // 8), unit="batch", desc="recognizing", leave=False):
        decisions = decide(logits(batch.images)[: len(batch.indices)])
        for index, decision in zip(batch.indices, decisions, strict=True):
            if sources[index].category in CATEGORIES:
                found[sources[index]] = CATEGORIES[decision]
    return found
