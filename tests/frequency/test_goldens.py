"""Against the reference's own results: losses, maps, masks, rates, spectra, filtered images, bands."""

import numpy as np
import pytest
from support.frequency_goldens import golden_network, normalized

from sparseshape_jax import frequency
from sparseshape_jax.evaluation.frequency.dfm import reference_loss
from sparseshape_jax.evaluation.frequency.maps_file import Losses, by_class
from sparseshape_jax.frequency.filtered import UNFILTERED, Filtered
from sparseshape_jax.frequency.losses import show
from sparseshape_jax.stimuli import frequency as sets

TOPS = (1, 5, 10, 20)
PATCHES = (1, 2, 4, 8)


def measured(golden, groups, images=None):
    """The loss of each image without each group, and whole."""
    inputs = normalized(golden, images)
    lists = [np.arange(UNFILTERED, groups.count)] * len(inputs)
    filtered = Filtered(golden_network(golden), groups)
    found = np.stack(show(filtered, lambda a, b: inputs[a:b], golden["labels"], lists, result="loss"))
    return found[:, 1:], found[:, 0]


def predicted(golden, masks):
    """What each image is taken for with each mask."""
    inputs = normalized(golden)
    lists = [np.arange(UNFILTERED, len(masks))] * len(inputs)
    filtered = Filtered(golden_network(golden), masks)
    return np.stack(show(filtered, lambda a, b: inputs[a:b], golden["labels"], lists, result="prediction")).T


def losses_record(golden, loss, groups):
    classes = int(golden["labels"].max()) + 1
    return Losses(
        loss=loss,
        baseline=loss[:, 0],
        group=groups.of,
        audited=np.zeros((classes, groups.count), bool),
        names=np.arange(len(loss)).astype(str),
        label=golden["labels"],
        classes=np.arange(classes).astype(str),
        facts=None,
    )


@pytest.fixture(scope="module", params=PATCHES)
def exact(request, small):
    groups = frequency.groups(32, request.param)
    return groups, *measured(small, groups)


@pytest.fixture(scope="module", params=PATCHES)
def reference(request, small):
    groups = frequency.groups(32, request.param, "reference")
    return groups, measured(small, groups)[0]


def test_exact_groups_and_losses(small, exact):
    groups, loss, whole = exact
    np.testing.assert_array_equal(groups.of, small[f"exact.p{groups.patch}.group"])
    np.testing.assert_allclose(loss.T, small[f"exact.p{groups.patch}.image_loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(whole, small["base.image_loss"], atol=1e-5, rtol=0)


def test_exact_maps_and_masks(small, exact):
    groups, loss, _ = exact
    name = f"exact.p{groups.patch}"
    means = by_class(loss, small["labels"], 4)
    np.testing.assert_allclose(groups.spread(means), small[f"{name}.loss"], atol=1e-5, rtol=0)
    for top in TOPS:
        np.testing.assert_array_equal(frequency.dominant(means, groups, top / 100), small[f"{name}.top{top}"])


def test_reference_losses(small, reference):
    groups, loss = reference
    name = f"reference.p{groups.patch}"
    blocks = groups.size // groups.patch
    order = [(row, column) for row in range(blocks) for column in range(blocks // 2 + 1)]
    np.testing.assert_array_equal(order, small[f"{name}.order"])
    np.testing.assert_allclose(loss.T, small[f"{name}.image_loss"], atol=1e-5, rtol=0)
    summed = reference_loss(losses_record(small, loss, groups), 4)
    np.testing.assert_allclose(groups.spread(summed), small[f"{name}.loss64"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(groups.spread(summed), small[f"{name}.loss"], atol=1e-5, rtol=0)
    for top in TOPS:
        np.testing.assert_array_equal(frequency.dominant(summed, groups, top / 100), small[f"{name}.top{top}"])


@pytest.mark.parametrize("kind", ["exact", "reference"])
@pytest.mark.parametrize("patch", PATCHES)
def test_confusion_matrices_and_rates(small, kind, patch):
    names = [f"{kind}.p{patch}.top{top}" for top in TOPS]
    whole, *found = predicted(small, np.concatenate([small[name] for name in names]))
    np.testing.assert_array_equal(frequency.rates(whole, small["labels"]).confusion, small["unfiltered.confusion"])
    for number, name in enumerate(names):
        rates = [frequency.rates(one, small["labels"], 4) for one in found[4 * number : 4 * number + 4]]
        np.testing.assert_array_equal([one.confusion for one in rates], small[f"{name}.confusion"])
        np.testing.assert_allclose([one.tpr[c] for c, one in enumerate(rates)], small[f"{name}.tpr"], rtol=1e-12)
        np.testing.assert_allclose([one.fpr[c] for c, one in enumerate(rates)], small[f"{name}.fpr"], rtol=1e-12)


def test_filtered_images(small, small_facts):
    mask = small["filtered.mask"]
    name, label = small_facts["filtered"]
    np.testing.assert_array_equal(mask, small[name][int(label)])
    found = frequency.keep(normalized(small), mask)
    np.testing.assert_allclose(found, small["filtered.images"], atol=1e-5, rtol=0)


def test_adcs(small):
    amplitudes = np.asarray(frequency.amplitude(normalized(small)))
    mean = by_class(amplitudes, small["labels"], 4)
    np.testing.assert_allclose(mean, small["adcs.mean_amplitude"], rtol=1e-4, atol=1e-4)
    safe = small["adcs.safe"]
    found = frequency.adcs(mean)
    np.testing.assert_array_equal(found[safe], small["adcs.exact"][safe])
    # Classes are equal in number here, so the reference's comparison with itself is all that differs.
    np.testing.assert_array_equal(found[safe] - 1, small["adcs.reference"][safe])


def test_adcs_of_the_reference_run(large):
    found = frequency.adcs(np.asarray(frequency.amplitude(normalized(large)), float))
    safe = np.unpackbits(large["adcs.safe"]).astype(bool).reshape(found.shape)
    np.testing.assert_array_equal(found[safe] - 1, large["adcs.reference"][safe])


@pytest.mark.parametrize("patch", [28, *(pytest.param(patch, marks=pytest.mark.slow) for patch in (32, 56))])
def test_blocks_of_the_reference_run(large, patch):
    groups = frequency.groups(224, patch, "reference")
    summed = reference_loss(losses_record(large, measured(large, groups)[0], groups), 10)
    blocks = groups.spread(summed)[:, ::patch, ::patch]
    name = f"reference.p{patch}"
    np.testing.assert_allclose(blocks, large[f"{name}.blocks"], atol=1e-5, rtol=0)
    for top in TOPS:
        # Where the reference's own float32 losses tie, its mask is decided by rounding.
        ordered = np.sort(groups.spread(summed).reshape(10, -1), axis=1)
        threshold = ordered[:, -int(224**2 * top / 100)][:, None, None]
        clear = np.abs(blocks - threshold) > 2e-6
        mask = frequency.dominant(summed, groups, top / 100)[:, ::patch, ::patch]
        np.testing.assert_array_equal(mask[clear], large[f"{name}.top{top}.blocks"][clear])


@pytest.mark.parametrize("patch", [28, 56])
def test_exact_groups_at_224_pixels(large, patch):
    groups = frequency.groups(224, patch)
    np.testing.assert_array_equal(groups.of, large[f"exact.p{patch}.group"])
    loss, whole = measured(large, groups)
    np.testing.assert_allclose(loss.T, large[f"exact.p{patch}.image_loss"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(whole, large["base.image_loss"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("patch", [28, *(pytest.param(patch, marks=pytest.mark.slow) for patch in (32, 56))])
def test_rates_of_the_reference_run(large, patch):
    stored = np.stack([large[f"reference.p{patch}.top{top}.blocks"] for top in TOPS])
    masks = np.kron(stored, np.ones((patch, patch), np.uint8)).reshape(-1, 224, 224)
    whole, *found = (frequency.rates(one, large["labels"], 10) for one in predicted(large, masks))
    np.testing.assert_allclose(whole.tpr, large["tpr.unfiltered"], atol=5e-5)
    np.testing.assert_allclose(whole.fpr, large["fpr.unfiltered"], atol=5e-5)
    for number, top in enumerate(TOPS):
        own = found[10 * number : 10 * number + 10]
        for rate in ("tpr", "fpr"):  # printed with four digits
            values = [getattr(one, rate)[label] for label, one in enumerate(own)]
            np.testing.assert_allclose(values, large[f"reference.p{patch}.top{top}.{rate}"], atol=5.1e-5)


@pytest.fixture(scope="module")
def probe(synthetic):
    """The first ten test images of each class of Syn_3 are not stored, so the package's generator must make them."""
    chosen = [(label, index) for label in range(4) for index in range(10)]
    images = np.stack([sets.pixels(sets.image(3, label, "test", index)) for label, index in chosen])
    return synthetic | {
        "images": images,
        "labels": synthetic["probe.labels"],
        "mean": np.float32([0.479838, 0.470448, 0.429404]),
        "std": np.float32([0.258143, 0.252662, 0.272406]),
    }


def test_bands(synthetic):
    np.testing.assert_array_equal(frequency.bands(32), synthetic["band_masks"])
    without, alone = frequency.band_filters(32)
    assert without[:, 16, 16].all()
    assert alone[:, 16, 16].all()
    others = np.ones((32, 32), bool)
    others[16, 16] = False
    np.testing.assert_array_equal(without[:, others], ~synthetic["band_masks"][:, others])
    np.testing.assert_array_equal(alone[:, others], synthetic["band_masks"][:, others])


def test_dominant_frequencies_of_a_planted_pattern(probe):
    groups = frequency.groups(32, 1)
    loss, whole = measured(probe, groups)
    np.testing.assert_allclose(whole, probe["base.image_loss"], atol=1e-5, rtol=0)
    means = by_class(loss, probe["labels"], 4)
    np.testing.assert_allclose(groups.spread(means), probe["exact.p1.loss"], atol=1e-5, rtol=0)
    masks = frequency.dominant(means, groups, 0.01)
    np.testing.assert_array_equal(masks, probe["exact.p1.top1"])
    assert means[0].argmax() == groups.of[16, 26]
    assert means[1].argmax() == groups.of[26, 16]
    _, *found = predicted(probe, masks)
    rates = [frequency.rates(one, probe["labels"], 4) for one in found]
    np.testing.assert_allclose([one.tpr[c] for c, one in enumerate(rates)], probe["exact.p1.top1.tpr"])
    np.testing.assert_allclose([one.fpr[c] for c, one in enumerate(rates)], probe["exact.p1.top1.fpr"])


def test_accuracy_by_band(probe):
    filters = np.concatenate(frequency.band_filters(32))
    right = predicted(probe, filters)[1:] == probe["labels"]
    accuracy = by_class(right.T.astype(float), probe["labels"], 4).T
    np.testing.assert_allclose(accuracy[:4], probe["band_accuracy.stop"])
    np.testing.assert_allclose(accuracy[4:], probe["band_accuracy.only"])
    stopped = frequency.keep(normalized(probe)[:4], filters[1])
    np.testing.assert_allclose(stopped, probe["band_filtered.stop2"], atol=1e-5, rtol=0)
