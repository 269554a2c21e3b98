"""Classifiers: networks of the catalogue at several sparsities, and models of the user's own."""

import json
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sparseshape_jax.classification import classifier as module
from sparseshape_jax.classification.classifier import build_classifiers, require_imagenet
from sparseshape_jax.classification.config import Classification
from sparseshape_jax.data.preprocessing import CAFFE, TORCHVISION, Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.models import Network
from sparseshape_jax.placement import TopK
from sparseshape_jax.weights.assign import save_safetensors
from sparseshape_jax.weights.load import Loaded, abstract

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


class Small(Network):
    """Two convolutions, 1000 classes."""

    def __init__(self, dtype: type | None = None) -> None:
        self.architecture = "small"
        self.conv1 = nnx.Conv(3, 4, (3, 3), dtype=dtype, rngs=nnx.Rngs(0))
        self.conv2 = nnx.Conv(4, 1000, (3, 3), dtype=dtype, rngs=nnx.Rngs(1))

    def steps(self):
        yield "conv1", self.conv1
        yield "relu1", nnx.relu
        yield "conv2", self.conv2
        yield "logits", lambda x: x.max(axis=(1, 2))


@pytest.fixture
def small(monkeypatch) -> list[Preprocessing]:
    """The name "small" stands for a small network; the list says which preprocessing its weights want."""
    preprocessing = [TORCHVISION]

    def load(name, *, weights=None, trunk_only=None, dtype=None):
        assert (name, trunk_only) == ("small", False)
        return Loaded(Small(dtype), preprocessing[0], None, name, "made up", "0" * 64)

    monkeypatch.setattr(module, "load", load)
    return preprocessing


@pytest.fixture
def own(monkeypatch) -> SimpleNamespace:
    """The module "own", in which models can be put."""
    namespace = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "own", namespace)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return namespace


def sweep(*fractions: float | TopK, **topk: object) -> Classification:
    return Classification(model="small", fractions=fractions, topk=TopK(**topk))


@pytest.mark.parametrize("preprocessing", [TORCHVISION, CAFFE], ids=["torchvision", "caffe"])
def test_logits_are_the_networks_for_normalised_pixels(small, preprocessing):
    small[0] = preprocessing
    (dense,) = build_classifiers(sweep(1.0, after=("relu1",)))
    assert dense.preprocessing == preprocessing
    pixels = (IMAGES.astype(np.float64) / 255 - preprocessing.mean) / preprocessing.std
    pixels = pixels[..., ::-1] if preprocessing.channels == "bgr" else pixels
    expected = Small()(jnp.asarray(pixels, jnp.float32))
    np.testing.assert_allclose(dense.logits(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_top_k_is_applied_where_it_belongs(small):
    specs = (1.0, 0.2, TopK(0.2, keep="rest", after=("conv1",)))
    classifiers = build_classifiers(sweep(*specs, after=("relu1",)))
    normalised = TORCHVISION.normalise(jnp.asarray(IMAGES, jnp.float32) / 255)
    placements = ({}, {"relu1": TopK(0.2)}, {"conv1": TopK(0.2, keep="rest")})
    for classifier, at in zip(classifiers, placements, strict=True):
        np.testing.assert_allclose(classifier.logits(IMAGES), Small()(normalised, at=at), rtol=1e-4, atol=1e-4)


def test_an_image_does_not_depend_on_its_batch(small):
    (sparse,) = build_classifiers(sweep(0.2, after=("relu1",)))
    together = sparse.logits(IMAGES)
    assert together.dtype == np.float32
    for index in range(3):
        padded = np.concatenate([IMAGES[index : index + 1], np.zeros_like(IMAGES[:2])])
        np.testing.assert_allclose(sparse.logits(padded)[0], together[index], rtol=1e-5, atol=1e-5)


def test_half_precision(small):
    exact, half = (
        build_classifiers(Classification(model="small", fractions=(1.0,), topk=TopK(after=()), compute_dtype=dtype))[0]
        for dtype in ("float32", "bfloat16")
    )
    assert half.logits(IMAGES).dtype == np.float32
    difference = np.abs(half.logits(IMAGES) - exact.logits(IMAGES)).max()
    assert 0 < difference < 0.05 * np.abs(exact.logits(IMAGES)).max()


def test_a_training_run(tmp_path):
    options = {"num_classes": 3, "dropout": 0.1}
    network, rng = abstract("squeezenet1_1", **options), np.random.default_rng(0)
    state = nnx.state(network, nnx.Param)
    nnx.update(network, jax.tree.map(lambda array: rng.random(array.shape, np.float32) / 50 - 0.005, state))
    network.eval()
    trained = (TopK(0.2, after=("pool3",)), TopK(0.5, after=("pool5",)))
    metadata = {"options": options, "classes": ["a", "b", "c"], "topk": [spec.to_config() for spec in trained]}
    preprocessing = Preprocessing(resize=48, crop=48)
    save_safetensors(
        network,
        tmp_path / "last.safetensors",
        {name: json.dumps(value) for name, value in metadata.items()},
        preprocessing=preprocessing,
    )
    first, dense = build_classifiers(Classification(weights=str(tmp_path), fractions=("trained", 1.0)))
    images = rng.integers(0, 256, (2, 48, 48, 3), np.uint8)
    normalised = preprocessing.normalise(jnp.asarray(images, jnp.float32) / 255)
    expected = network(normalised, at={"pool3": trained[0], "pool5": trained[1]})
    np.testing.assert_allclose(first.logits(images), expected, rtol=1e-4, atol=1e-4)
    for one in (first, dense):
        assert (one.model, one.classes, one.num_classes) == ("squeezenet1_1", ("a", "b", "c"), 3)
        assert one.preprocessing == preprocessing
    assert (first.specs, first.trained) == (trained, True)
    assert (dense.spec.is_identity, dense.trained) == (True, False)
    with pytest.raises(InputError, match=r"squeezenet1_1 has 3 classes \(a, b, c, …\); give a network for ImageNet"):
        require_imagenet(dense)


def test_names_and_provenance(small):
    classifiers = build_classifiers(sweep(1.0, 0.2, TopK(0.2, after=("conv1",)), after=("relu1",)))
    assert [one.suffix for one in classifiers] == ["", "", "_b"]
    for one in classifiers:
        assert one.model == "small"
        assert one.provenance == {"source": "made up", "sha256": "0" * 64}


def test_unknown_activations_are_named_before_anything_runs(small):
    for config in (sweep(1.0, 0.2, after=("pool1",)), sweep(1.0, after=("pool1",))):
        with pytest.raises(
            InputError, match="small has no activation called 'pool1'; it has conv1, relu1, conv2, logits"
        ):
            build_classifiers(config)
    with pytest.raises(InputError, match="no Top-K preset for small; name activations among conv1"):
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
    classifiers = build_classifiers(Classification(model="own:network", fractions=(1.0, spec)))
    for classifier in classifiers:
        logits = classifier.logits(IMAGES)
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[:, 7], IMAGES.mean(axis=(1, 2, 3)) / 255, rtol=1e-2)
        assert (classifier.model, classifier.provenance, classifier.preprocessing) == ("own_network", {}, TORCHVISION)
    assert [entry[0] for entry in seen] == [TopK(1.0, keep="all"), spec]
    assert {entry[1:] for entry in seen} == {(np.dtype("float32"), np.float32(0), np.float32(1))}


def test_a_jitted_model_of_ones_own(own):
    own.network = lambda: jax.jit(lambda images: jnp.ones((images.shape[0], 1000)))
    (classifier,) = build_classifiers(Classification(model="own:network"))
    assert classifier.spec.is_identity
    assert classifier.logits(IMAGES).shape == (3, 1000)


@pytest.mark.parametrize("shape", [(3, 10), (3,), (2, 1000), (3, 1000, 1), ()])
def test_another_shape_is_refused(own, shape):
    own.network = lambda: lambda images: np.zeros(shape)
    (classifier,) = build_classifiers(Classification(model="own:network"))
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
        (":network", "neither a name of the catalogue nor module:function"),
        ("own:", "neither a name of the catalogue nor module:function"),
        ("..own:network", "neither a name of the catalogue nor module:function"),
    ],
)
def test_models_that_are_none(own, model, message):
    own.number = 3
    own.returns_none = lambda: None
    with pytest.raises(InputError, match=message):
        build_classifiers(Classification(model=model))


def test_top_k_cannot_be_forced_on_a_model(own):
    own.network = lambda: lambda images: np.zeros((len(images), 1000))
    with pytest.raises(InputError, match=r"own:network has no parameter called top_k, .* --fractions \[1.0\] only"):
        build_classifiers(Classification(model="own:network", fractions=(1.0, 0.2)))
    with pytest.raises(InputError, match="let own:network read its own"):
        build_classifiers(Classification(model="own:network", weights="x.pth"))
