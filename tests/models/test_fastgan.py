"""FastGAN's networks, against values of the authors' code."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.fastgan_goldens import (
    Program,
    build,
    by_reference_names,
    cast,
    images,
    latents,
    random_state,
    table_of,
    with_prefix,
)

from sparseshape_jax.errors import InputError
from sparseshape_jax.models.fastgan import Generator, _Noise, _noise_keys
from sparseshape_jax.models.fastgan_discriminator import Discriminator, quarter, shrunk
from sparseshape_jax.top_k.placement import parse, place, preset
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import export

SLOW = pytest.mark.slow
SIZES = [256, pytest.param(512, marks=SLOW), pytest.param(1024, marks=SLOW)]
PRECISIONS = [True, pytest.param(False, marks=SLOW)]
ACTIVATIONS = {"init": "feat_4", "feat_8": "feat_8", "feat_16": "feat_16", "feat_32": "feat_32"}
ACTIVATIONS |= {f"se_{side}": f"feat_{side}" for side in (64, 128, 256)}


@pytest.fixture(scope="module")
def golden(reference_data):
    with np.load(reference_data / "goldens/few-shot/networks.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def parameters(reference_data):
    facts = json.loads((reference_data / "goldens/few-shot/networks.json").read_text())
    return {kind: facts[f"{kind}.parameters"] for kind in "GD"}


def tolerance(size: int, double: bool) -> float:
    if double:
        return 1e-6
    return 1e-4 if size == 1024 else 2e-5


def close(found, expected, size=256, double=True, **options):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(size, double), **options)


def check_state(program, golden, prefix, size, double):
    arrays = program.state()
    for name, array in with_prefix(golden, prefix).items():
        close(arrays[name], array, size, double, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("double", PRECISIONS)
@pytest.mark.parametrize("size", SIZES)
def test_generator_in_train_mode_and_its_state(golden, parameters, size, double):
    network = build(Generator, size, 8, 32)
    program = Program(network, Generator.images, double=double)
    if size == 256:
        names = [name for name in program.state() if not name.endswith(("_u", "_v", "running_mean", "running_var"))]
        assert names == parameters["G"]
    for number in range(2):
        found = program(latents(10 + number, 2, 32))
        expected = with_prefix(golden, f"G{size}.train{number}.")
        close(found.big[:, :: size // 32, :: size // 32], expected["big"], size, double)
        close(found.small[:, ::4, ::4], expected["small"], size, double)
        statistics = [found.big.mean((1, 2), dtype=np.float64), found.big.std((1, 2), dtype=np.float64)]
        close(statistics, expected["big_mean_std"], size, double)
    check_state(program, golden, f"G{size}.state.", size, double)


@pytest.mark.parametrize("double", PRECISIONS)
@pytest.mark.parametrize("size", SIZES)
def test_generator_in_eval_mode(golden, size, double):
    network = build(Generator, size, 8, 32, changes=with_prefix(golden, f"G{size}.eval_state."))
    network.eval()
    names = network.names
    program = Program(network, lambda network, z: network.activations(z, names), double=double)
    before = program.state()
    found = program(latents(10, 2, 32))
    close(found["big"][:, :: size // 32, :: size // 32], golden[f"G{size}.eval.big"], size, double)
    close(found["small"][:, ::4, ::4], golden[f"G{size}.eval.small"], size, double)
    if size == 256:
        for theirs, ours in ACTIVATIONS.items():
            expected = with_prefix(golden, f"G256.eval.act.{theirs}.")
            close(found[ours][0].mean((0, 1)), expected["mean"], size, double, err_msg=ours)
            close(np.abs(found[ours][0]).mean((0, 1)), expected["mean_abs"], size, double, err_msg=ours)
    for name, array in program.state().items():
        np.testing.assert_array_equal(array, before[name])


VARIANTS = {
    "dense": None,
    "top32_5": TopK(),
    "top16-32_10-5": TopK(),
    "mean32_5": TopK(mean_replace=True),
    "top4-64-128-256_25-50-5-1": TopK(),
}
LAST = "top4-64-128-256_25-50-5-1"
CASES = [(variant, mode) for variant in VARIANTS for mode in ("eval", "train") if (variant, mode) != (LAST, "eval")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "mode"),
    CASES,
)
def test_top_k_and_gradients(golden, parameters, variant, mode):
    network = build(Generator, 256, 8, 32, changes=with_prefix(golden, "G256.eval_state."))
    at = {}
    if (template := VARIANTS[variant]) is not None:
        at = place(parse(variant.removeprefix("top").removeprefix("mean"), network, template=template), network)
    (network.train if mode == "train" else network.eval)()
    weights = [random_state(20 + index).standard_normal((2, side, side, 3)) for index, side in enumerate((256, 128))]
    weights = [array.astype(np.float32).astype(np.float64) for array in weights]
    expected = with_prefix(golden, f"G256.{variant}.{mode}.")
    with jax.enable_x64(True):
        graphdef, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
        params, stats, z = cast((params, stats, latents(10, 2, 32)), True)

        def total(params, z):
            found = nnx.merge(graphdef, params, stats, copy=True).images(z, at=at)
            return sum(jnp.mean(image * weight) for image, weight in zip(found, weights, strict=True)), found

        program = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
        (_, found), (gradient, gradient_z) = program(params, z)
    close(found.big[:, ::8, ::8], expected["big"])
    close(found.small[:, ::4, ::4], expected["small"])
    close(gradient_z, expected["grad_z"])
    gradients = by_reference_names(gradient, table_of(network))
    assert list(gradients) == parameters["G"]
    close([np.linalg.norm(array) for array in gradients.values()], expected["grad_norms"])


@pytest.mark.slow
@pytest.mark.parametrize("double", PRECISIONS)
@pytest.mark.parametrize("size", SIZES)
def test_discriminator_in_train_mode_and_its_state(golden, parameters, size, double):
    real = Program(build(Discriminator, size, 8), Discriminator.real, double=double)
    if size == 256:
        names = [name for name in real.state() if not name.endswith(("_u", "_v", "running_mean", "running_var"))]
        assert names == parameters["D"]
    found = real(images(30, 3, size), np.int32(2))
    expected = with_prefix(golden, f"D{size}.train0.real.")
    close(found.logits, expected["logits"], size, double)
    for name in ("big", "small", "part"):
        close(getattr(found, name)[:, ::8, ::8], expected[f"rec_{name}"], size, double)
    fake = Program(build(Discriminator, size, 8), Discriminator.fake, double=double)
    fake.stats = real.stats
    logits = fake(images(31, 3, size), images(32, 3, 128))
    close(logits, golden[f"D{size}.train1.fake.logits"], size, double)
    check_state(fake, golden, f"D{size}.state.", size, double)


@pytest.mark.slow
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("size", [256, 512, 1024])
def test_discriminator_in_eval_mode(golden, size, double):
    network = build(Discriminator, size, 8, changes=with_prefix(golden, f"D{size}.eval_state."))
    network.eval()
    expected = with_prefix(golden, f"D{size}.eval.")
    real = Program(network, Discriminator.real, double=double)
    for part in range(4):
        found = real(images(30, 3, size), np.int32(part))
        close(found.part[:, ::8, ::8], expected[f"real.rec_part{part}"], size, double)
    close(found.logits, expected["real.logits"], size, double)
    close(found.big[:, ::8, ::8], expected["real.rec_big"], size, double)
    close(found.small[:, ::8, ::8], expected["real.rec_small"], size, double)
    fake = Program(network, Discriminator.fake, double=double)
    close(fake(images(31, 3, size), images(32, 3, 128)), expected["fake.logits"], size, double)


@pytest.mark.parametrize(("size", "small"), [(64, 32), (128, 64), (256, 128), (512, 128), (1024, 128)])
def test_sizes(size, small):
    generator = nnx.eval_shape(lambda: Generator(size, 8, 16, rngs=nnx.Rngs(0)))
    discriminator = nnx.eval_shape(lambda: Discriminator(size, 8, decoder_width=4, rngs=nnx.Rngs(0)))
    z = jax.ShapeDtypeStruct((2, 16), np.float32)

    def shapes(network, function, *arguments):
        graphdef, state = nnx.split(network)
        return jax.eval_shape(
            lambda state, *args: function(nnx.merge(graphdef, state, copy=True), *args), state, *arguments
        )

    made = shapes(generator, Generator.images, z)
    assert (made.big.shape, made.small.shape) == ((2, size, size, 3), (2, small, small, 3))
    found = shapes(discriminator, partial(Discriminator.real, part=1), made.big)
    assert found.logits.shape == (4, 5, 5)
    assert {image.shape for image in found[1:]} == {(2, small, small, 3)}
    assert shapes(discriminator, Discriminator.fake, *made).shape == (4, 5, 5)


@pytest.mark.parametrize(("size", "millions"), [(256, 29.13), (512, 29.17), (1024, 29.18)])
def test_the_published_widths_have_the_published_numbers_of_parameters(size, millions):
    generator = nnx.eval_shape(lambda: Generator(size, rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(generator, nnx.Param)))
    assert round(count / 1e6, 2) == millions


def test_the_discriminators_number_of_parameters():
    discriminator = nnx.eval_shape(lambda: Discriminator(rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(discriminator, nnx.Param)))
    assert round(count / 1e6, 1) == 11.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 96}, "size is 96; it can be 64, 128, 256, 512, 1024"),
        ({"size": 512, "ngf": 3}, "ngf is 3; the network for 512 pixels needs at least 4"),
        ({"size": 1024, "ngf": 7}, "ngf is 7; the network for 1024 pixels needs at least 8"),
        ({"noise": "some"}, "noise is 'some'; it can be none or learned"),
        ({"excitation": "tanh"}, "excitation is 'tanh'; it can be linear or sigmoid"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Generator(**arguments, rngs=nnx.Rngs(0))


def test_narrow_discriminators_are_refused():
    with pytest.raises(InputError, match="ndf is 3; the network for 256 pixels needs at least 4"):
        Discriminator(256, 3, rngs=nnx.Rngs(0))


def test_other_latent_vectors_are_refused():
    generator = nnx.eval_shape(lambda: Generator(64, 2, 8, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match=r"latent vectors have shape \(2, 9\); this generator takes \(N, 8\)"):
        generator.images(np.zeros((2, 9), np.float32))


def test_top_k_at_a_map_that_the_size_does_not_have_is_refused():
    generator = nnx.eval_shape(lambda: Generator(64, 2, 8, rngs=nnx.Rngs(0)))
    with pytest.raises(InputError, match="has no activation called 'feat_128'"):
        place(parse("128_5", generator), generator)
    assert preset(generator) == ("feat_32",)


def small_generator(**options):
    network = build(Generator, 64, 2, 8, **options)
    network.eval()
    return network


def with_strength(network, strength):
    for side in (8, 32):
        for index in (1, 2):
            getattr(getattr(network, f"feat_{side}"), f"noise{index}").scale[...] = jnp.full(1, strength)
    return network


def test_learned_noise_depends_on_the_latent_vector_alone():
    z, noisy, without = latents(0, 3, 8), small_generator(noise="learned"), small_generator()
    nnx.update(without, nnx.state(noisy))
    program = Program(with_strength(noisy, 0.5), Generator.images, double=False)
    images = program(z).big
    np.testing.assert_allclose(program(z[[2, 0, 1]]).big[[1, 2, 0]], images, rtol=1e-5)
    plain = Program(without, Generator.images, double=False)(z).big
    assert np.abs(images - plain).max() > 1e-3 * np.abs(plain).max()
    silent = Program(with_strength(noisy, 0.0), Generator.images, double=False)(z).big
    np.testing.assert_allclose(silent, plain, rtol=1e-5)


def test_noise_is_standard_normal_and_differs_from_vector_to_vector():
    noise = _Noise(3)
    noise.scale[...] = jnp.full(1, 2.0)
    drawn = np.asarray(noise(jnp.zeros((4, 64, 64, 2)), _noise_keys(jnp.asarray(latents(0, 4, 8))))) / 2
    np.testing.assert_array_equal(drawn[..., 0], drawn[..., 1])
    correlation = np.corrcoef(drawn[..., 0].reshape(4, -1))
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.06)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [0, 1], atol=0.03)


def test_the_sigmoid_bounds_the_excitation():
    linear, sigmoid = (small_generator(excitation=excitation) for excitation in ("linear", "sigmoid"))
    z, names = latents(0, 2, 8), ("feat_64",)
    found = [Program(network, lambda n, z: n.activations(z, names), double=False)(z) for network in (linear, sigmoid)]
    graphdef, state = nnx.split(linear.excite_64)
    factors = nnx.merge(graphdef, state)(
        linear.activations(z, ("feat_4",))["feat_4"], jnp.ones((2, 64, 64, linear.to_big.kernel.shape[2]))
    )
    plain = found[0]["feat_64"] / factors
    np.testing.assert_allclose(found[1]["feat_64"], plain * jax.nn.sigmoid(factors), rtol=1e-3, atol=1e-6)


def test_small_copies_and_quarters():
    x = np.arange(2 * 8 * 8 * 1.0).reshape(2, 8, 8, 1)
    np.testing.assert_array_equal(shrunk(x, 4), x[:, ::2, ::2])
    for part, (row, column) in enumerate(np.ndindex(2, 2)):
        expected = x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_array_equal(jax.jit(quarter)(x, part), expected)


def test_first_weights_have_the_stated_distributions():
    generator = nnx.jit(lambda: Generator(64, 32, 64, rngs=nnx.Rngs(0)))()
    arrays = export(generator, table_of(generator))
    kernel, scale = arrays["feat_8.conv1.weight_orig"], arrays["feat_8.bn1.weight"]
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.02], atol=2e-4)
    np.testing.assert_allclose([scale.mean(), scale.std()], [1, 0.02], atol=4e-3)
    assert not arrays["feat_8.bn1.bias"].any()
    for name, array in arrays.items():
        if name.endswith(("_u", "_v")):
            np.testing.assert_allclose(np.linalg.norm(array), 1, rtol=1e-5)
