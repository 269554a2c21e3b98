"""Stimuli of one color, which says what there is to see, a model of the user's own that reads it, and human records."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

CATEGORIES = [
    "airplane",
    "bear",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "car",
    "cat",
    "chair",
    "clock",
    "dog",
    "elephant",
]
CATEGORIES += ["keyboard", "knife", "oven", "truck"]

# A module of its own, as a user would write it.
PAINTED = """
import numpy as np
from sparseshape_jax.observers.categories import CATEGORY_INDICES

INDICES = list(CATEGORY_INDICES.values())

def network(top_k):
    '''Sees the texture, and once fewer than 30 % are kept the shape; some stimuli it always takes for a truck.'''
    def logits(images):
        assert images.dtype == np.float32 and images.shape[1:] == (224, 224, 3) and images.max() <= 1
        colors = np.round(images[:, 100, 100] * 255).astype(int)
        out = np.zeros((len(images), 1000))
        for row, (shape, texture, riddle) in zip(out, colors):
            seen = 15 if riddle == 255 else shape // 10 if top_k.fraction < 0.3 else texture // 10
            row[list(INDICES[seen])] = 9
        return out
    return logits

def without_top_k():
    return network(__import__('sparseshape_jax').TopK(1.0))

def wrong_shape(top_k):
    return lambda images: np.zeros((len(images), 10))

def not_a_number(top_k):
    return lambda images: np.full((len(images), 1000), np.nan)

def no_callable(top_k):
    return 3

number = 3
"""

# Seven cue conflicts, one of them a riddle, and two stimuli without a conflict.
PAIRS = (
    ("car", "clock", 0),
    ("car", "dog", 0),
    ("cat", "dog", 0),
    ("cat", "truck", 0),
    ("truck", "bear", 0),
    ("oven", "knife", 255),
    ("oven", "knife", 0),
    ("bear", "bear", 0),
    ("truck", "truck", 255),
)


def paint(folder: Path, pairs: Sequence[tuple[str, str, int]]) -> None:
    """Make stimuli in cue-conflict layout, each of one color: (shape, texture, riddle)."""
    numbers: dict[str, int] = {}
    for shape, texture, riddle in pairs:
        numbers[shape] = number = numbers.get(shape, 0) + 1
        color = (10 * CATEGORIES.index(shape), 10 * CATEGORIES.index(texture), riddle)
        path = folder / shape / f"{shape}{number}-{texture}1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (224, 224), color).save(path)


COLUMNS = "subj,session,trial,rt,object_response,category,condition,imagename"


def humans(folder: Path, answers: dict[str, str], subject: str = "subject-01") -> Path:
    """Records of a person, as the human experiments have them."""
    folder.mkdir(exist_ok=True)
    lines = [
        f"{subject},1,{trial},0.8,{answer},{re.match('[a-z]+', image)[0]},0,{trial:04}_cnf_s01_0_x_00_{image}"
        for trial, (image, answer) in enumerate(answers.items(), start=1)
    ]
    path = folder / f"cue-conflict_{subject}_session_1.csv"
    path.write_text("\n".join([COLUMNS, *lines]) + "\n")
    return path
