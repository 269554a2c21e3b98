"""The objective against the PyTorch reference's values, and its parts against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.layers import AveragePool
from sparseshape_jax.models.network import Network, Steps
from sparseshape_jax.models.registry import architecture
from sparseshape_jax.synthesis.objective import (
    KEEPS,
    REFERENCE_SCALE,
    Objective,
    Term,
    gram_matrix,
    per_image_value_and_grad,
    sparsify,
    terms_for,
    total_variation,
)
from sparseshape_jax.top_k.operator import keep_top_k
from sparseshape_jax.top_k.spec import TopK

MASKS = {"top.1.0": ("all", 0.05), "top.0.05": ("top", 0.05), "rest.0.05": ("rest", 0.05), "top.0.2": ("top", 0.2)}
"""The reference's masks as ours; 100 % is keeping all, so that it shares a program with 5 %."""
KINDS = ("texture", "reconstruction")


@pytest.fixture(scope="module")
def golden(reference_data):
    return np.load(reference_data / "goldens" / "synthesis_objective_reference.npz")


@pytest.fixture(scope="module")
def ours(golden, vgg_trunk) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Layer losses and gradients of all cases: a batch for each fraction, of every kind and keep."""
    terms = tuple(term for kind in KINDS for term in terms_for(kind, architecture("vgg16").match))
    graphdef, state = nnx.split(vgg_trunk.network)

    @partial(jax.jit, static_argnames="top_k")
    def evaluate(state, target, images, keep, chosen, *, top_k):
        network = nnx.merge(graphdef, state, copy=True)
        objective = Objective(terms, top_k)
        wanted = objective.targets(network, {"image": target}, keep)

        def loss(images):
            losses = objective.term_losses(network, images, wanted, keep)
            return jnp.sum(jnp.where(chosen, losses, 0)), losses

        (_, losses), gradients = jax.value_and_grad(loss, has_aux=True)(images)
        return losses, gradients

    results = {}
    for fraction in (0.05, 0.2):
        cases = [(kind, mask) for kind in KINDS for mask, (_, f) in MASKS.items() if f == fraction]
        target = vgg_trunk.preprocessing.normalize(jnp.asarray(golden["target_rgb"]))
        batch = [jnp.stack([image] * len(cases)) for image in (target, jnp.asarray(golden["noise_normalised"]))]
        keep = jnp.asarray([KEEPS.index(MASKS[mask][0]) for _, mask in cases])
        chosen = np.array([[term.kind == kind for term in terms] for kind, _ in cases])
        losses, gradients = evaluate(state, *batch, keep, chosen, top_k=TopK(fraction))
        for index, (kind, mask) in enumerate(cases):
            results[f"{kind}.{mask}"] = np.asarray(losses[index])[chosen[index]], np.asarray(gradients[index])
    return results


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_the_references(golden, ours, kind, mask):
    losses, gradient = ours[f"{kind}.{mask}"]
    expected = golden[f"{kind}.{mask}.grad"]
    np.testing.assert_allclose(losses, golden[f"{kind}.{mask}.layer_losses"], rtol=1e-3)
    np.testing.assert_allclose(losses.sum(), golden[f"{kind}.{mask}.loss"], rtol=1e-3)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    assert np.linalg.norm(gradient - expected) <= 1e-3 * np.linalg.norm(expected)


sparsified = jax.jit(sparsify, static_argnums=1)


class Toy(Network):
    """Two activations that NumPy can follow."""

    architecture = "toy"

    def steps(self) -> Steps:
        yield "twice", lambda x: 2 * x
        yield "pool", AveragePool(2, 2)


@partial(jax.jit, static_argnums=0)
def toy_losses(objective, images, targets, keep):
    wanted = objective.targets(Toy(), {"image": targets}, keep)
    return objective.term_losses(Toy(), images, wanted, keep)


def naive_activations(images: np.ndarray) -> dict[str, np.ndarray]:
    twice = 2 * images.astype(np.float64)
    n, h, w, c = twice.shape
    return {"twice": twice, "pool": twice.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))}


def naive_gram(activation: np.ndarray) -> np.ndarray:
    h, w, channels = activation.shape
    gram = np.zeros((channels, channels))
    for i in range(channels):
        for j in range(channels):
            for y in range(h):
                for x in range(w):
                    gram[i, j] += activation[y, x, i] * activation[y, x, j]
    return gram / (channels * h * w)


def naive_mask(activation: np.ndarray, fraction: float, keep: str) -> np.ndarray:
    masked = np.zeros_like(activation)
    for channel in range(activation.shape[-1]):
        values = activation[..., channel].ravel()
        order = sorted(range(values.size), key=lambda index: (-abs(values[index]), index))
        k = max(1, int(fraction * values.size))
        kept = {"top": order[:k], "rest": order[k:], "all": order}[keep]
        masked[..., channel].flat[kept] = values[kept]
    return masked


def random_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 6, 4, 3)).astype(np.float32)


def test_gram_matrix():
    activations = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    grams = gram_matrix(jnp.asarray(activations))
    assert grams.shape == (2, 4, 4)
    for activation, gram in zip(activations, grams, strict=True):
        np.testing.assert_allclose(gram, naive_gram(activation), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scope", ["spatial", "channel", "volume"])
def test_each_image_of_a_batch_keeps_its_own(scope):
    top_k = TopK(0.3, scope=scope)
    images = jnp.asarray(random_images(3))
    batch = sparsified(images, top_k, jnp.asarray([KEEPS.index(keep) for keep in ("rest", "all", "top")]))
    for index, keep in enumerate(("rest", "all", "top")):
        expected = jax.jit(partial(keep_top_k, fraction=0.3, keep=keep, scope=scope))(images[index])
        np.testing.assert_array_equal(batch[index], expected)
        alone = sparsified(images[index : index + 1], top_k, jnp.asarray([KEEPS.index(keep)]))
        np.testing.assert_array_equal(batch[index], alone[0])


def test_all_of_them_kept_as_top_is_everything():
    images = jnp.asarray(random_images(1))
    np.testing.assert_array_equal(sparsify(images, TopK(1.0), jnp.asarray([KEEPS.index("top")])), images)


@pytest.mark.parametrize("kind", ["texture", "reconstruction"])
def test_losses_against_numpy(kind):
    """A texture masks both images, a reconstruction the target alone; weights are the terms' own."""
    images, targets = random_images(3, seed=1), random_images(3, seed=2)
    keeps, fraction, weights = ("all", "top", "rest"), 0.25, {"pool": 0.5, "twice": 3.0}
    terms = terms_for(kind, tuple(weights), tuple(weights.values()))
    keep = jnp.asarray([KEEPS.index(name) for name in keeps])
    losses = toy_losses(Objective(terms, TopK(fraction)), jnp.asarray(images), jnp.asarray(targets), keep)
    assert losses.shape == (3, 2)
    ours, theirs = naive_activations(images), naive_activations(targets)
    for index, name in enumerate(keeps):
        for column, (layer, weight) in enumerate(weights.items()):
            target = naive_mask(theirs[layer][index], fraction, name)
            if kind == "texture":
                masked = naive_mask(ours[layer][index], fraction, name)
                difference = naive_gram(masked) - naive_gram(target)
            else:
                difference = ours[layer][index] - target
            expected = 1e9 / 4 * weight * np.sum(difference**2)
            np.testing.assert_allclose(losses[index, column], expected, rtol=1e-4)


def test_the_target_has_no_loss():
    """A texture is matched by its target under any mask; a reconstruction only if the target is not masked."""
    images = jnp.asarray(random_images(3))
    keep = jnp.arange(3)
    for kind in ("texture", "reconstruction"):
        objective = Objective(terms_for(kind, ("twice", "pool")), TopK(0.2))
        losses = np.asarray(toy_losses(objective, images, images, keep)).sum(axis=1)
        matched = [kind == "texture" or name == "all" for name in KEEPS]
        np.testing.assert_array_equal(losses < 1, matched)  # of some 10⁸


def test_gradients_of_a_batch_are_each_images_own():
    images, targets = jnp.asarray(random_images(3, seed=1)), jnp.asarray(random_images(3, seed=2))
    objective = Objective(terms_for("texture", ("pool",)), TopK(0.4))

    def losses(images, targets, keep):
        wanted = objective.targets(Toy(), {"image": targets}, keep)
        return objective.losses(Toy(), images, wanted, keep)

    values, gradients = per_image_value_and_grad(losses)(images, targets, jnp.arange(3))
    alone = jax.value_and_grad(lambda image, target, keep: losses(image, target, keep)[0])
    for index in range(3):
        one = slice(index, index + 1)
        value, gradient = alone(images[one], targets[one], jnp.arange(3)[one])
        np.testing.assert_allclose(values[index], value, rtol=1e-6)
        np.testing.assert_allclose(gradients[index], gradient[0], rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


@given(down=st.floats(-1, 1, width=32), right=st.floats(-1, 1, width=32))
@settings(max_examples=25, deadline=None)
def test_total_variation_of_a_ramp(down, right):
    y, x = np.mgrid[:5, :4]
    ramp = np.repeat((down * y + right * x)[None, :, :, None], 3, axis=3).astype(np.float32)
    np.testing.assert_allclose(total_variation(jnp.asarray(ramp)), [down**2 + right**2], rtol=1e-4, atol=1e-5)


def test_total_variation_sees_each_image_alone():
    images = random_images(2)
    expected = [
        np.mean((image[1:] - image[:-1]) ** 2) + np.mean((image[:, 1:] - image[:, :-1]) ** 2) for image in images
    ]
    np.testing.assert_allclose(total_variation(jnp.asarray(images)), expected, rtol=1e-5)


def test_terms():
    assert terms_for("texture", ("a", "b")) == (Term("texture", "a", 1.0), Term("texture", "b", 1.0))
    assert Term("texture", "a").source == "image"
    assert REFERENCE_SCALE == 2.5e8
    for layers, weights in (((), None), (("a",), ()), (("a", "b"), (1.0,)), (("a",), (-1.0,))):
        with pytest.raises(InputError, match="layers and the layer weights"):
            terms_for("texture", layers, weights)
    for weight in (np.nan, np.inf):
        with pytest.raises(InputError, match="layer weights"):
            terms_for("reconstruction", ("a",), (weight,))


def test_an_objective_lists_its_activations_and_sources_once():
    terms = (Term("texture", "b", source="style"), Term("reconstruction", "a", source="content"))
    objective = Objective((*terms, *terms_for("texture", ("b", "a"))), TopK(0.2))
    assert objective.activations == ("b", "a")
    assert objective.sources == ("style", "content", "image")
    assert hash(objective) == hash(Objective(objective.terms, TopK(0.2)))


@jax.jit
def content_and_style_losses(images, content, style, keep):
    objective = Objective(
        (Term("reconstruction", "twice", 2.0, source="content"), Term("texture", "pool", 0.5, source="style")),
        TopK(0.25),
    )
    targets = objective.targets(Toy(), {"content": content, "style": style}, keep)
    return objective.term_losses(Toy(), images, targets, keep), objective.losses(Toy(), images, targets, keep)


def test_targets_come_from_the_sources_that_terms_name():
    """Content from one image, style from another one of another size."""
    images, content = (random_images(2, seed=seed) for seed in (1, 2))
    style = np.random.default_rng(3).normal(size=(2, 8, 10, 3)).astype(np.float32)
    keeps = ("top", "all")
    keep = jnp.asarray([KEEPS.index(name) for name in keeps])
    by_term, losses = content_and_style_losses(*map(jnp.asarray, (images, content, style)), keep)
    np.testing.assert_allclose(losses, by_term.sum(axis=1), rtol=1e-6)
    ours, theirs, styles = naive_activations(images), naive_activations(content), naive_activations(style)
    for index, name in enumerate(keeps):
        difference = ours["twice"][index] - naive_mask(theirs["twice"][index], 0.25, name)
        np.testing.assert_allclose(by_term[index, 0], 1e9 / 4 * 2.0 * np.sum(difference**2), rtol=1e-4)
        grams = [naive_gram(naive_mask(part["pool"][index], 0.25, name)) for part in (ours, styles)]
        np.testing.assert_allclose(by_term[index, 1], 1e9 / 4 * 0.5 * np.sum((grams[0] - grams[1]) ** 2), rtol=1e-4)


def test_unknown_layers_are_named():
    objective = Objective(terms_for("texture", ("pool9",)), TopK(0.2))
    with pytest.raises(InputError, match="toy has no activation called 'pool9'; it has twice, pool"):
        objective.targets(Toy(), {"image": jnp.zeros((1, 4, 4, 3))}, jnp.zeros(1, jnp.int32))
