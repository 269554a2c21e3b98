"""Placements: presets, names, the paper's spelling for architectures with numbered places, and merging."""

from collections.abc import Iterator
from functools import cache, partial

import pytest
from support.networks import own_registry

from sparseshape_jax import InputError, TopK, models, place
from sparseshape_jax.top_k.placement import merge_placement, parse, preset
from sparseshape_jax.weights.catalog import CATALOG
from sparseshape_jax.weights.load import abstract


@cache
def network(architecture: str) -> models.Network:
    """Shapes instead of weights; shared, so not to be changed."""
    return abstract(architecture, num_classes=2)


class Named(models.Network):
    """Only names."""

    def __init__(self, architecture: str, names: tuple[str, ...], **_) -> None:
        self.architecture, self.activation_names = architecture, names

    def steps(self):
        for name in self.activation_names:
            yield name, lambda x: x


@pytest.fixture
def maps() -> Iterator[models.Network]:
    """An architecture whose places are map sizes, as a generator's are."""
    build = partial(Named, "maps", ("feat_4", "feat_8", "feat_16", "layer4"))
    with own_registry():
        models.register("maps", models.Architecture(build, place_name="feat_{}"))
        yield models.build("maps", rngs=None)


# The network of FID is what distances are measured with; there is no place for Top-K in it.
@pytest.mark.parametrize(
    "architecture",
    sorted({"resnet18_cifar", *(entry.architecture for entry in CATALOG.values())} - {"inception_fid"}),
)
def test_presets_name_real_activations(architecture: str) -> None:
    record = models.architecture(architecture)
    assert record.top_k_after
    found = network(architecture)
    found.check_names(record.top_k_after)
    found.check_names(record.match)
    assert preset(found) == record.top_k_after


def test_places_one_or_several() -> None:
    alexnet = network("alexnet")
    assert place(TopK(0.2), alexnet) == dict.fromkeys(("pool1", "pool2", "relu3", "relu4", "pool5"), TopK(0.2))
    one, other = TopK(0.2, after=("pool1",)), TopK(0.1, keep="rest", after=("relu3", "pool5"))
    assert place([one, other], alexnet) == {"pool1": one, "relu3": other, "pool5": other}
    assert place(TopK(1.0), alexnet) == {}
    assert place((), alexnet) == {}


def test_two_on_one_activation_are_refused_even_if_one_changes_nothing() -> None:
    for first in (TopK(0.2, after=("pool1",)), TopK(1.0, after=("pool1",))):
        with pytest.raises(InputError, match="two Top-K follow pool1"):
            place([first, TopK(0.1, after=("pool1", "pool2"))], network("alexnet"))


def test_unknown_activations_and_missing_presets(maps: models.Network) -> None:
    with pytest.raises(InputError, match="no activation called 'pool9'; it has conv1"):
        place(TopK(after=("pool9",)), network("alexnet"))
    with pytest.raises(InputError, match=r"no Top-K preset for maps; .*--topk\.after, among feat_4, feat_8"):
        place(TopK(), maps)


def test_the_papers_spelling_of_a_resnet() -> None:
    resnet = network("resnet18")
    assert parse("2_20", resnet) == (TopK(0.2, after=("layer2",)),)
    assert parse("1-2_20", resnet) == (TopK(0.2, after=("layer1",)), TopK(0.2, after=("layer2",)))
    template = TopK(keep="rest", scope="channel")
    assert parse("3_5", resnet, template=template) == (TopK(0.05, keep="rest", scope="channel", after=("layer3",)),)
    with pytest.raises(InputError, match="is not a Top-K placement"):
        parse("2", resnet)


def test_the_papers_spelling_of_a_generator(maps: models.Network) -> None:
    """What a place is called is up to the architecture, and not to its number."""
    assert parse("4_10", maps) == (TopK(0.1, after=("feat_4",)),)
    assert parse("16-8_10-5", maps) == (TopK(0.1, after=("feat_16",)), TopK(0.05, after=("feat_8",)))


def test_architectures_without_numbered_places_have_no_spelling() -> None:
    with pytest.raises(InputError, match=r"alexnet has no numbered places, so '2_20' .*--topk\.after"):
        parse("2_20", network("alexnet"))


def test_merging() -> None:
    rest = TopK(0.1, keep="rest", after=("pool3",))
    at = place([TopK(0.2, after=("pool1",)), rest, TopK(0.2, after=("pool2",))], network("vgg11"))
    merged = merge_placement(at)
    assert merged == (TopK(0.2, after=("pool1", "pool2")), rest)
    assert merge_placement({}) == ()
    placed = place(merged, network("vgg11"))
    assert merge_placement(placed) == merged
