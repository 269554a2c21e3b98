"""Classifiers: networks of the catalog at several sparsities, and models of the user's own."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from support.networks import random_network
from support.small_network import SIDE, Small, save_run

from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation import classifiers as module
from sparseshape_jax.evaluation.classifiers import build_classifiers, require_imagenet
from sparseshape_jax.evaluation.config import ClassificationConfig
from sparseshape_jax.preprocessing import CAFFE, TORCHVISION, Preprocessing
from sparseshape_jax.top_k.spec import TopK, TopKChanges
from sparseshape_jax.weights.load import Loaded

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture
def small(monkeypatch, small_network) -> list[Preprocessing]:
    """The name "small" stands for a small network; the list says which preprocessing its weights want."""
    preprocessing = [TORCHVISION]

    def load(name, *, weights=None, trunk_only=None, dtype=None):
        assert (name, trunk_only) == ("small", False)
        return Loaded(dense_network(dtype), preprocessing[0], None, name, "made up", "0" * 64)

    monkeypatch.setattr(module, "load", load)
    return preprocessing


@pytest.fixture
def own(monkeypatch) -> SimpleNamespace:
    """The module "own", in which models can be put."""
    namespace = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "own", namespace)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return namespace


def dense_network(dtype: type | None = None) -> Small:
    return Small(dtype=dtype, rngs=nnx.Rngs(0))


def sweep(*fractions: float | TopK, **topk: object) -> ClassificationConfig:
    return ClassificationConfig(model="small", fractions=fractions, topk=TopKChanges(**topk))


@pytest.mark.parametrize("preprocessing", [TORCHVISION, CAFFE], ids=["torchvision", "caffe"])
def test_logits_are_the_networks_for_normalized_pixels(small, preprocessing):
    small[0] = preprocessing
    (dense,) = build_classifiers(sweep(1.0, after=("relu1",)))
    assert dense.preprocessing == preprocessing
    pixels = (IMAGES.astype(np.float64) / 255 - preprocessing.mean) / preprocessing.std
    pixels = pixels[..., ::-1] if preprocessing.channels == "bgr" else pixels
    expected = dense_network()(jnp.asarray(pixels, jnp.float32))
    np.testing.assert_allclose(dense.logits(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_top_k_is_applied_where_it_belongs(small):
    specs = (1.0, 0.2, TopK(0.2, keep="rest", after=("conv1",)))
    classifiers = build_classifiers(sweep(*specs, after=("relu1",)))
    normalized = TORCHVISION.normalize(jnp.asarray(IMAGES, jnp.float32) / 255)
    placements = ({}, {"relu1": TopK(0.2)}, {"conv1": TopK(0.2, keep="rest")})
    for classifier, at in zip(classifiers, placements, strict=True):
        np.testing.assert_allclose(classifier.logits(IMAGES), dense_network()(normalized, at=at), rtol=1e-4, atol=1e-4)


def test_an_image_does_not_depend_on_its_batch(small):
    (sparse,) = build_classifiers(sweep(0.2, after=("relu1",)))
    together = sparse.logits(IMAGES)
    assert together.dtype == np.float32
    for index in range(3):
        padded = np.concatenate([IMAGES[index : index + 1], np.zeros_like(IMAGES[:2])])
        np.testing.assert_allclose(sparse.logits(padded)[0], together[index], rtol=1e-5, atol=1e-5)


def test_half_precision(small):
    settings = {"model": "small", "fractions": (1.0,), "topk": TopKChanges(after=())}
    exact, half = (
        build_classifiers(ClassificationConfig(**settings, compute_dtype=dtype))[0] for dtype in ("float32", "bfloat16")
    )
    assert half.logits(IMAGES).dtype == np.float32
    difference = np.abs(half.logits(IMAGES) - exact.logits(IMAGES)).max()
    assert 0 < difference < 0.05 * np.abs(exact.logits(IMAGES)).max()


def test_a_training_run(tmp_path, small_network):
    trained = (TopK(0.2, after=("conv1",)), TopK(0.5, after=("relu1",)))
    save_run(tmp_path, ("a", "b", "c"), trained)
    preprocessing = Preprocessing(resize=SIDE, crop=SIDE)
    network = random_network("small", gain=2.0, num_classes=3)
    first, dense = build_classifiers(ClassificationConfig(weights=str(tmp_path), fractions=("trained", 1.0)))
    normalized = preprocessing.normalize(jnp.asarray(IMAGES, jnp.float32) / 255)
    expected = network(normalized, at={"conv1": trained[0], "relu1": trained[1]})
    np.testing.assert_allclose(first.logits(IMAGES), expected, rtol=1e-4, atol=1e-4)
    for one in (first, dense):
        assert (one.name, one.classes, one.num_classes) == ("small", ("a", "b", "c"), 3)
        assert one.preprocessing == preprocessing
    assert (first.specs, first.trained) == (trained, True)
    assert (dense.spec.is_identity, dense.trained) == (True, False)
    with pytest.raises(InputError, match=r"small has 3 classes \(a, b, c, …\); give a network for ImageNet"):
        require_imagenet(dense)


def test_settings_that_are_given_are_those_that_are_measured(tmp_path, small_network):
    """Also where a flag says what would be the default without the weights."""
    trained = (TopK(0.2, keep="rest", after=("conv1",)), TopK(0.2, mean_replace=True, after=("relu1",)))
    network = random_network("small", gain=2.0, num_classes=3)
    normalized = Preprocessing(resize=SIDE, crop=SIDE).normalize(jnp.asarray(IMAGES, jnp.float32) / 255)

    def check(topk: TopKChanges, at: dict[str, TopK]) -> None:
        config = ClassificationConfig(weights=str(tmp_path), fractions=(0.3,), topk=topk)
        (classifier,) = build_classifiers(config)
        np.testing.assert_allclose(classifier.logits(IMAGES), network(normalized, at=at), rtol=1e-4, atol=1e-4)
        placed = {name: spec for spec in classifier.top_k for name in spec.after}
        assert placed == {name: replace(spec, after=placed[name].after) for name, spec in at.items()}

    save_run(tmp_path, ("a", "b", "c"), trained[:1])
    check(TopKChanges(), {"conv1": TopK(0.3, keep="rest")})
    check(TopKChanges(keep="top"), {"conv1": TopK(0.3)})
    save_run(tmp_path, ("a", "b", "c"), trained[1:])
    check(TopKChanges(mean_replace=False), {"relu1": TopK(0.3)})
    save_run(tmp_path, ("a", "b", "c"), trained)  # each place keeps its own
    check(TopKChanges(), {"conv1": TopK(0.3, keep="rest"), "relu1": TopK(0.3, mean_replace=True)})
    check(TopKChanges(after=("relu1",)), {"relu1": TopK(0.3, mean_replace=True)})


def test_names_and_provenance(small):
    classifiers = build_classifiers(sweep(1.0, 0.2, TopK(0.2, after=("conv1",)), after=("relu1",)))
    assert [one.suffix for one in classifiers] == ["", "", "_b"]
    for one in classifiers:
        assert one.name == "small"
        assert one.entries()["weights"] == {"source": "made up", "sha256": "0" * 64}
    assert [one.entries()["model"] for one in classifiers] == ["small", "small", "small_b"]
    placed = [[], [TopK(0.2, after=("relu1",)).to_config()], [TopK(0.2, after=("conv1",)).to_config()]]
    assert [one.entries()["top_k"] for one in classifiers] == placed


def test_what_decides_a_row(small):
    def facts(config: ClassificationConfig, dtype: str = "float32") -> list[dict]:
        return [one.provenance(dtype) for one in build_classifiers(config)]

    dense, sparse = facts(sweep(1.0, 0.2, after=("relu1",)))
    assert dense != sparse
    assert facts(sweep(1.0, 0.2, after=("relu1",))) == [dense, sparse]
    assert facts(sweep(1.0, 0.2, after=("conv1",)))[0] == dense
    assert facts(sweep(1.0, 0.2, after=("conv1",)))[1] != sparse
    assert facts(sweep(0.2, after=("relu1",)), "bfloat16") != [sparse]
    # Under another name it is another row, even where nothing is placed.
    same = facts(sweep(TopK(0.2, after=("conv1",)), TopK(0.2, after=("relu1",)), TopK(0.3, "all", after=())))
    assert sparse not in same
    assert dense not in same
    small[0] = CAFFE
    assert facts(sweep(1.0, after=("relu1",))) != [dense]


def test_unknown_activations_are_named_before_anything_runs(small):
    for config in (sweep(1.0, 0.2, after=("pool1",)), sweep(1.0, after=("pool1",))):
        with pytest.raises(
            InputError, match="small has no activation called 'pool1'; it has conv1, relu1, conv2, logits"
        ):
            build_classifiers(config)
    with pytest.raises(InputError, match=r"no Top-K preset for small; .* with --topk\.after, among conv1"):
        build_classifiers(sweep(0.2))


def test_a_model_of_ones_own_gets_pixels_and_top_k(own):
    seen = []

    def network(top_k):
        def logits(images):
            seen.append((top_k, images.dtype, images.min(), images.max()))
            return jnp.tile(images.mean(axis=(1, 2, 3))[:, None], (1, 1000)).astype(jnp.bfloat16)

        return logits

    own.network = network
    spec = TopK(0.1, after=("anything",))
    classifiers = build_classifiers(ClassificationConfig(model="own:network", fractions=(1.0, spec)))
    for classifier in classifiers:
        logits = classifier.logits(IMAGES)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[:, 7], IMAGES.mean(axis=(1, 2, 3)) / 255, rtol=1e-2)
        assert (classifier.name, classifier.preprocessing) == ("own_network", TORCHVISION)
        assert classifier.provenance("float32") is None
    assert [entry[0] for entry in seen] == [TopK(1.0, keep="all"), spec]
    assert {entry[1:] for entry in seen} == {(np.dtype("float32"), np.float32(0), np.float32(1))}


def test_a_jitted_model_of_ones_own(own):
    own.network = lambda: jax.jit(lambda images: jnp.ones((images.shape[0], 1000)))
    (classifier,) = build_classifiers(ClassificationConfig(model="own:network"))
    assert classifier.spec.is_identity
    assert classifier.logits(IMAGES).shape == (3, 1000)


@pytest.mark.parametrize("shape", [(3, 10), (3,), (2, 1000), (3, 1000, 1), ()])
def test_another_shape_is_refused(own, shape):
    own.network = lambda: lambda images: np.zeros(shape)
    (classifier,) = build_classifiers(ClassificationConfig(model="own:network"))
    with pytest.raises(InputError, match=r"own_network returned an array of shape \(.* must return .* \(3, 1000\)"):
        classifier.logits(IMAGES)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("own:missing", "module own has no 'missing'"),
        ("own:number", "number is int, not a function"),
        ("own:returns_none", "own:returns_none returned NoneType; it must return a callable"),
        ("absent:network", "there is no module 'absent'; write module:function"),
        ("own.absent:network", "there is no module 'own.absent'"),
        (":network", "neither a name of the catalog nor module:function"),
        ("own:", "neither a name of the catalog nor module:function"),
        ("..own:network", "neither a name of the catalog nor module:function"),
    ],
)
def test_models_that_are_none(own, model, message):
    own.number = 3
    own.returns_none = lambda: None
    with pytest.raises(InputError, match=message):
        build_classifiers(ClassificationConfig(model=model))


def test_top_k_cannot_be_forced_on_a_model(own):
    own.network = lambda: lambda images: np.zeros((len(images), 1000))
    with pytest.raises(InputError, match=r"own:network has no parameter called top_k, .* --fractions \[1.0\] only"):
        build_classifiers(ClassificationConfig(model="own:network", fractions=(1.0, 0.2)))
    with pytest.raises(InputError, match="let own:network read its own"):
        build_classifiers(ClassificationConfig(model="own:network", weights="x.pth"))
