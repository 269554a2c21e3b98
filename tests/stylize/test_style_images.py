from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.commands import command

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.style_images import choose_styles, open_styles, unique_names


@given(st.text(max_size=20), st.integers(1, 30), st.integers(0, 5), st.data())
def test_the_chosen_styles_are_distinct_and_the_first_ones_stay(key, styles, seed, data):
    count = data.draw(st.integers(1, styles))
    chosen = choose_styles(key, styles, count, seed)
    assert len(set(chosen)) == len(chosen) == count
    assert all(0 <= each < styles for each in chosen)
    assert chosen[:1] == choose_styles(key, styles, 1, seed)


def test_styles_are_chosen_uniformly_and_by_the_seed():
    keys = [f"class/{number}.jpg" for number in range(4000)]
    first = [choose_styles(key, 4, 1, 0)[0] for key in keys]
    assert all(abs(count - 1000) < 130 for count in Counter(first).values())  # 4.7 standard deviations
    second = [choose_styles(key, 4, 1, 1)[0] for key in keys]
    assert abs(np.mean(np.equal(first, second)) - 0.25) < 0.04


def test_known_choices():
    """Images that were made once must not get other styles with another version."""
    assert [choose_styles(key, 24, 2, 0) for key in ("a.jpg", "n01440764/b.JPEG")] == [(12, 6), (2, 20)]


def test_more_styles_than_there_are():
    with pytest.raises(InputError, match="styles_per_image is 3, but there are 2 styles"):
        choose_styles("a", 2, 3, 0)


def test_names_are_stems_unless_they_repeat():
    assert unique_names(["a.png", "x/b.png"]) == ["a", "b"]
    assert unique_names(["x/a.png", "y/a.png", "b.png"]) == ["x-a", "y-a", "b"]
    assert unique_names(["a.png", "a.jpg", "b.png"]) == ["a.png", "a.jpg", "b"]


def test_procedural_styles_are_those_that_the_command_writes(tmp_path, capsys):
    assert command("synthesize.py", capsys)("styles", "--out", tmp_path).status == 0
    ours, written = open_styles(None), open_styles(str(tmp_path))
    assert [ours.key(i) for i in range(len(ours))] == [written.key(i) for i in range(len(written))]
    for index in (0, 11, 23):
        np.testing.assert_array_equal(np.asarray(ours.image(index)), np.asarray(written.image(index)))


def test_one_file(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    styles = open_styles(str(tmp_path / "b.png"))
    assert [styles.key(i) for i in range(len(styles))] == ["b.png"]
    with pytest.raises(InputError, match="there is no folder"):
        open_styles(str(tmp_path / "c.png"))
