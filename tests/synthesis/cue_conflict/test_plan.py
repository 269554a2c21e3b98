"""Which photograph meets which texture."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseshape_jax.errors import InputError
from sparseshape_jax.observers.categories import shape_and_texture
from sparseshape_jax.synthesis.cue_conflict.config import CueConflictConfig
from sparseshape_jax.synthesis.cue_conflict.plan import make_plan
from sparseshape_jax.synthesis.cue_conflict.sources import Source

PIXELS = np.zeros((1, 1, 3), np.uint8)


def sources(**counts: int) -> list[Source]:
    return [
        Source(category, number, f"{category}/{number:02}.png", "", PIXELS)
        for category, count in counts.items()
        for number in range(1, count + 1)
    ]


def plan(contents, styles, **options):
    return make_plan(contents, styles, CueConflictConfig(content="photos", style="textures", **options))


def spread(uses: Counter, there: list[Source]) -> int:
    """The largest difference in uses within a category."""
    counts: dict[str, list[int]] = {}
    for source in there:
        counts.setdefault(source.category, []).append(uses[source])
    return max(max(each) - min(each) for each in counts.values())


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    styles=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    per_pair=st.integers(1, 6),
    same=st.booleans(),
    seed=st.integers(0, 99),
)
def test_balanced_sets(contents, styles, per_pair, same, seed):
    names = ("bear", "car", "cat", "dog")[: len(contents)]
    there = sources(**dict(zip(names, contents, strict=True))), sources(**dict(zip(names, styles, strict=False)))
    kinds = [(a, b) for a in names for b in names if same or a != b]
    counts = [Counter(source.category for source in side) for side in there]
    possible = min(counts[0][a] * counts[1][b] for a, b in kinds)
    options = {"per_pair": per_pair, "include_same": same, "seed": seed}
    if per_pair > possible:
        with pytest.raises(InputError, match=rf"per_pair is {per_pair}; add pictures"):
            plan(*there, **options)
        return
    found = plan(*there, **options)
    assert Counter((pair.content.category, pair.style.category) for pair in found) == dict.fromkeys(kinds, per_pair)
    assert len({pair.file for pair in found}) == len(found)
    assert spread(Counter(pair.content for pair in found), there[0]) <= 1
    assert spread(Counter(pair.style for pair in found), there[1]) <= 1
    for a, b in kinds:  # within each pair of categories, too
        own = [pair for pair in found if (pair.content.category, pair.style.category) == (a, b)]
        assert spread(Counter(pair.content for pair in own), [s for s in there[0] if s.category == a]) <= 1
        assert spread(Counter(pair.style for pair in own), [s for s in there[1] if s.category == b]) <= 1


@settings(max_examples=30, deadline=None)
@given(total=st.integers(1, 36), seed=st.integers(0, 9))
def test_a_number_of_pairs(total, seed):
    there = sources(bear=2, cat=3), sources(bear=1, cat=3, dog=2)
    most = 2 * (3 + 2) + 3 * (1 + 2)  # pairs without equal categories
    if total > most:
        with pytest.raises(InputError, match=f"pairs is {total}, and these pictures make {most} stimuli"):
            plan(*there, pairs=total, seed=seed)
        return
    found = plan(*there, pairs=total, seed=seed)
    assert len({pair.file for pair in found}) == total
    counts = Counter((pair.content.category, pair.style.category) for pair in found)
    assert sum(counts.values()) == total
    if total <= 8:  # enough of every pair of categories
        assert set(counts.values()) <= {total // 4, -(-total // 4)}


def test_all_pairs():
    there = sources(cat=2, dog=1), sources(cat=1, elephant=2)
    files = [pair.file.removeprefix("cue-conflict/") for pair in plan(*there, pairs="all")]
    assert files == [
        "cat/cat1-elephant1.png",
        "cat/cat1-elephant2.png",
        "cat/cat2-elephant1.png",
        "cat/cat2-elephant2.png",
        "dog/dog1-cat1.png",
        "dog/dog1-elephant1.png",
        "dog/dog1-elephant2.png",
    ]
    assert len(plan(*there, pairs="all", include_same=True)) == 9


def test_the_official_design():
    names = ["car", "cat", "dog", "bear"]
    found = plan(sources(**dict.fromkeys(names, 10)), sources(**dict.fromkeys(names, 3)), include_same=True)
    assert len(found) == 16 * 5
    assert set(Counter(pair.content for pair in found).values()) == {2}
    assert all(shape_and_texture(pair.file.rpartition("/")[2]) for pair in found)


def test_the_plan_depends_on_the_seed_and_on_the_files():
    def files(seed=0, **counts):
        return [pair.file for pair in plan(sources(**counts), sources(cat=3, dog=3), per_pair=3, seed=seed)]

    assert files(cat=4, dog=4) == files(cat=4, dog=4)
    assert files(cat=4, dog=4) != files(cat=4, dog=4, seed=1)
    assert files(cat=4, dog=4) != files(cat=5, dog=4)


@pytest.mark.parametrize(
    ("contents", "styles", "options", "message"),
    [
        ({"cat": 2}, {"cat": 2}, {}, "all photographs and all textures are of the category cat"),
        ({"cat": 2}, {"cat": 2}, {"pairs": "all", "include_same": True}, "no cues can conflict"),
        (
            {"cat": 5, "dog": 5},
            {"cat": 5, "elephant": 5},
            {},
            "only --content has dog and only --style has elephant; a balanced set needs",
        ),
        ({"a": 11, "b": 1}, {"a1": 1, "b": 1, "a": 11}, {"pairs": "all"}, "a1/01.png and a/11.png|would both become"),
    ],
)
def test_plans_that_are_refused(contents, styles, options, message):
    with pytest.raises(InputError, match=message):
        plan(sources(**contents), sources(**styles), **options)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_are_refused(shard):
    with pytest.raises(InputError, match=r"it must be like 2/4"):
        CueConflictConfig(content="photos", style="textures", shard=shard)
