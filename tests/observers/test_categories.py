import json
from pathlib import Path

import pytest

from sparseshape_jax.observers.categories import CATEGORIES, CATEGORY_INDICES, shape_and_texture, stimulus_name


def test_indices_are_the_published_ones(reference_data: Path) -> None:
    published = json.loads((reference_data / "goldens" / "sixteen_class_indices.json").read_text())
    assert {category: list(indices) for category, indices in CATEGORY_INDICES.items()} == published


def test_sixteen_categories_in_alphabetical_order_share_no_class() -> None:
    assert len(CATEGORIES) == 16
    assert sorted(CATEGORIES) == list(CATEGORIES) == list(CATEGORY_INDICES)
    indices = [index for category in CATEGORIES for index in CATEGORY_INDICES[category]]
    assert len(indices) == len(set(indices)) == 207
    assert 0 <= min(indices) <= max(indices) < 1000


@pytest.mark.parametrize(
    ("image", "stimulus", "categories"),
    [
        ("airplane1-bicycle2.png", "airplane1-bicycle2.png", ("airplane", "bicycle")),
        ("0001_s5n_s01_0_bird_00_bird3-bird2.png", "bird3-bird2.png", ("bird", "bird")),
        ("0002_s5n_s02_0_bird_00_bird10-bear2.png", "bird10-bear2.png", ("bird", "bear")),
        ("0001_edg_s01_0_oven_00_oven10.png", "oven10.png", None),
        ("0001_ske_s01_0_boat_00_boat-0068-sketch-23.png", "boat-0068-sketch-23.png", None),
        ("0001_cl_s01_cr_oven_40_n04111531_14126.png", "n04111531_14126.png", None),
        ("airplane1-toaster2.png", "airplane1-toaster2.png", None),
        ("airplane1-bicycle2-dog3.png", "airplane1-bicycle2-dog3.png", None),
        ("", "", None),
    ],
)
def test_names_of_images(image: str, stimulus: str, categories: tuple[str, str] | None) -> None:
    assert stimulus_name(image) == stimulus
    assert shape_and_texture(image) == categories
