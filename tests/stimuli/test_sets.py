"""The registry of sets, and their stimuli in memory."""

import numpy as np
import pytest
from support.images import noise

from sparseshape_jax.data.decoding import read_image
from sparseshape_jax.data.folders import Folder
from sparseshape_jax.data.loader import Loader
from sparseshape_jax.errors import InputError
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.stimuli import sets, write
from sparseshape_jax.stimuli.config import StimuliConfig
from sparseshape_jax.stimuli.stimulus_set import StimulusSet


class Inverted(StimulusSet):
    conditions = ("all",)

    def make(self, image, condition, rng):
        return 255 - image


def test_an_unknown_set_is_refused_with_a_list():
    for ask in (sets.find, lambda name: sets.transform(name, "4")):
        with pytest.raises(InputError, match=r"no set of stimuli called 'crumpled'; there are shuffled") as caught:
            ask("crumpled")
        assert "\n" not in str(caught.value)


def test_own_sets_are_found_and_may_replace_others(own_sets):
    sets.register("inverted", Inverted())
    assert sets.names()[-1] == "inverted"
    assert isinstance(sets.find("inverted"), Inverted)
    sets.register("shuffled", Inverted())
    assert isinstance(sets.find("shuffled"), Inverted)
    assert len(sets.names()) == len(set(sets.names()))


def test_a_condition_that_the_set_does_not_have(own_sets):
    sets.register("inverted", Inverted())
    with pytest.raises(InputError, match=r"no condition 'half'; there are all"):
        sets.transform("inverted", "half")
    with pytest.raises(InputError, match=r"the set shuffled has no condition 'half'"):
        sets.transform("shuffled", "half")


def test_a_transform_makes_what_the_set_makes():
    made = sets.transform("shuffled", "3")(noise(9, 7), np.random.default_rng(5))
    np.testing.assert_array_equal(made, sets.find("shuffled").make(noise(9, 7), "3", np.random.default_rng(5)))


@pytest.mark.parametrize("seed", [0, 3])
def test_in_memory_they_equal_the_files(images, tmp_path, seed):
    """From images of any size, resized and cropped by the job as by the loader."""
    write.run(StimuliConfig(images=str(images), conditions=("4", "2"), size=8, seed=seed, out=str(tmp_path / "out")))
    preprocessing = Preprocessing(resize=round(8 * write.RESIZE), crop=8)
    for condition in ("4", "2"):
        folder = Folder(images)
        loader = Loader(folder, preprocessing, 3, transform=sets.transform("shuffled", condition), seed=seed)
        for batch in loader:
            for image, index in zip(batch.images, batch.indices, strict=False):
                file = (tmp_path / "out" / "shuffled" / condition / folder.key(index)).with_suffix(".png")
                np.testing.assert_array_equal(image, read_image(file))
                assert (image != 0).any()


def test_files_can_be_loaded_again_unchanged(images, tmp_path):
    """A network gets the stimuli's own pixels: those of its input size are not resized."""
    write.run(StimuliConfig(images=str(images), size=8, out=str(tmp_path / "out")))
    made = Folder(tmp_path / "out" / "shuffled" / "4")
    (batch,) = Loader(made, Preprocessing(resize=9, crop=8), 4)
    for image, index in zip(batch.images, batch.indices, strict=True):
        np.testing.assert_array_equal(image, made.image(index))
