"""Styles that are computed: textures of eight kinds, each drawn at random with mild colors of related hues.

They are free to use, need no download and come in any size. The same kind, seed and size give the same pixels. In
another size the same random numbers make another texture of the same kind and colors.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sparseshape_jax.errors import InputError
from sparseshape_jax.stylize.config import KINDS

Field = Float[np.ndarray, "h w"]
Palette = Float[np.ndarray, "colors 3"]
"""Colors from dark to light, in OKLab (Ottosson 2020), where equal steps look equal."""

COLORS = 5
"""Colors of a palette."""


def procedural_style(kind: str, seed: int = 0, *, size: int | tuple[int, int] = 256) -> UInt8[np.ndarray, "h w 3"]:
    """A texture as an RGB image (H, W, 3) of 8 bits a channel.

    Args:
        kind: one of `KINDS`.
        seed: of the colors and of everything that is drawn.
        size: the side in pixels, or (height, width).

    Raises:
        InputError: an unknown kind, a negative seed, or a side below 8 pixels.
    """
    if kind not in KINDS:
        raise InputError(f"there is no procedural style {kind!r}; there are {', '.join(KINDS)}")
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 8:
        raise InputError(f"a style of {width}×{height} pixels is too small; sides must be at least 8")
    if seed < 0:
        raise InputError(f"seed is {seed}; it must be at least 0")
    rng = np.random.default_rng([seed, *hashlib.sha256(kind.encode()).digest()])
    colors = _palette(rng)
    image = _TEXTURES[kind](rng, colors, height, width)
    # Shade and grain keep large areas from being of one color.
    image[..., 0] += 0.02 * _noise(rng, height, width, 1.5) + 0.015 * rng.standard_normal((height, width))
    return np.round(255 * _srgb(image)).astype(np.uint8)


def _palette(rng: np.random.Generator) -> Palette:
    """Colors of related hues, from dark to light, none of them strong."""
    lightness = np.linspace(rng.uniform(0.25, 0.45), rng.uniform(0.78, 0.95), COLORS)
    hue = rng.uniform(0, 2 * math.pi) + math.radians(28) * rng.standard_normal(COLORS)
    chroma = rng.uniform(0.02, 0.08, COLORS) * rng.choice([0.6, 1.0, 1.25])
    return np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


def _srgb(lab: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    """From OKLab to sRGB, cut off at 0 and 1."""
    cones = (
        lab
        @ np.array(
            [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]]
        ).T
    )
    linear = (
        cones**3
        @ np.array(
            [
                [4.0767416621, -3.3077115913, 0.2309699292],
                [-1.2684380046, 2.6097574011, -0.3413193965],
                [-0.0041960863, -0.7034186147, 1.7076147010],
            ]
        ).T
    )
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _noise(rng: np.random.Generator, height: int, width: int, exponent: float, stretch: float = 1.0) -> Field:
    """Noise whose amplitude falls with frequency as 1/f^exponent; its mean is 0 and its deviation 1.

    With `stretch` above 1, structures are longer by this factor in a random direction.
    """
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    angle = rng.uniform(0, math.pi)
    along, beside = across * math.cos(angle) + down * math.sin(angle), down * math.cos(angle) - across * math.sin(angle)
    frequency = np.hypot(along * stretch, beside)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency**exponent
    field = np.fft.irfft2(spectrum, s=(height, width))
    return field / field.std()


def _positions(height: int, width: int) -> tuple[Field, Field]:
    """Of each pixel its place across and down, in short sides of the image."""
    side = min(height, width)
    return np.broadcast_to(np.arange(width) / side, (height, width)), np.broadcast_to(
        np.arange(height)[:, None] / side, (height, width)
    )


def _spread(field: Field) -> Field:
    """Map a field to [0, 1] so that all values are about equally frequent; it was normally distributed."""
    return 1 / (1 + np.exp(-1.7 * field))


def _colored(colors: Palette, value: Field) -> Float[np.ndarray, "h w 3"]:
    """The palette's color at each value from 0, the darkest, to 1, in between on straight lines."""
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(value, places, channel) for channel in colors.T], axis=-1)


def _colored_noise(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    return _colored(colors, _spread(_noise(rng, height, width, rng.uniform(0.9, 1.7))))


def _stripes(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    x, y = _positions(height, width)
    angle = rng.uniform(0, math.pi)
    waves = rng.uniform(0.15, 0.5) * _noise(rng, height, width, 2.2)
    phase = rng.uniform(5, 14) * (x * math.cos(angle) + y * math.sin(angle)) + waves
    return _colored(colors, 0.5 + 0.5 * np.tanh(rng.uniform(1, 3) * np.sin(2 * math.pi * phase)))


def _cells(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    x, y = _positions(height, width)
    count = int(rng.integers(50, 220) * x.max() * y.max()) + 3
    points = rng.uniform(-0.05, 1.05, (count, 2)) * [x.max(), y.max()]
    own = np.clip(rng.normal(0.65, 0.2, count), 0.25, 1)
    near, seam = np.empty((height, width), int), np.empty((height, width))
    for row in range(height):  # one row at a time, so that a large image does not need all distances at once
        distance = np.hypot(x[row, :, None] - points[:, 0], y[row, :, None] - points[:, 1])
        first, second = np.partition(distance, 1, axis=-1)[:, :2].T
        near[row], seam[row] = distance.argmin(axis=-1), second - first
    edge = rng.uniform(0.008, 0.02)
    return _colored(colors, own[near] * np.clip(seam / edge, 0, 1) ** 0.7)


def _checks(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    x, y = _positions(height, width)
    angle, count = rng.uniform(-0.6, 0.6), int(rng.integers(7, 16))
    bend = rng.uniform(0.0, 0.02) * _noise(rng, height, width, 2.0)
    values = []
    for along in (x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)):
        low, high = along.min(), along.max()
        lines = np.arange(low, high, 1 / count) + rng.uniform(-0.3, 0.3, len(np.arange(low, high, 1 / count))) / count
        values.append(np.searchsorted(np.sort(lines), along + bend))
    parity = (values[0] + values[1]) % 2
    jitter = rng.uniform(-0.25, 0.25, (values[0].max() + 1, values[1].max() + 1))
    return _colored(colors, np.clip(0.25 + 0.5 * parity + jitter[values[0], values[1]], 0, 1))


def _dots(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    side = min(height, width)
    order = rng.permutation(COLORS)
    ground = _colored(colors[order[:1]].repeat(2, axis=0), np.zeros((height, width)))
    mean = rng.uniform(0.012, 0.035)
    count = int(rng.uniform(0.5, 1.1) * height * width / (math.pi * (mean * side) ** 2)) + 1

    def mark(draw: ImageDraw.ImageDraw, color: tuple[int, ...]) -> None:
        radius = SMOOTH * side * mean * rng.uniform(0.5, 1.4)
        x, y = rng.uniform(0, SMOOTH * width), rng.uniform(0, SMOOTH * height)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    return _painted(rng, ground, colors[order[1:]], count, mark)


def _streaks(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    return _colored(colors, _spread(_noise(rng, height, width, rng.uniform(0.7, 1.2), stretch=rng.uniform(6, 16))))


def _marble(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    x, y = _positions(height, width)
    angle = rng.uniform(0, math.pi)
    turbulence = rng.uniform(0.5, 1.2) * _noise(rng, height, width, rng.uniform(1.5, 1.9))
    veins = np.abs(np.sin(math.pi * (rng.uniform(2, 5) * (x * math.cos(angle) + y * math.sin(angle)) + turbulence)))
    return _colored(colors, np.clip(veins ** rng.uniform(0.4, 0.9) + 0.06 * _noise(rng, height, width, 1.2), 0, 1))


def _strokes(rng: np.random.Generator, colors: Palette, height: int, width: int) -> Float[np.ndarray, "h w 3"]:
    side = min(height, width)
    flow = rng.uniform(0, math.pi) + rng.uniform(0.4, 1.2) * _noise(rng, height, width, 2.2)
    length, breadth = rng.uniform(0.06, 0.14), rng.uniform(0.012, 0.03)
    count = int(rng.uniform(3, 5) * height * width / (length * breadth * side**2))

    def mark(draw: ImageDraw.ImageDraw, color: tuple[int, ...]) -> None:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle = flow[int(y), int(x)] + rng.normal(0, 0.15)
        half = 0.5 * side * length * rng.uniform(0.6, 1.3)
        dx, dy = half * math.cos(angle), half * math.sin(angle)
        ends = [SMOOTH * each for each in (x - dx, y - dy, x + dx, y + dy)]
        draw.line(ends, fill=color, width=max(1, round(SMOOTH * side * breadth * rng.uniform(0.6, 1.3))))

    ground = _colored(colors, _spread(_noise(rng, height, width, 1.5)))
    return _painted(rng, ground, colors, count, mark)


SMOOTH = 2
"""Marks are drawn at so many times the size and shrunk, for smooth edges."""


def _painted(
    rng: np.random.Generator,
    ground: Float[np.ndarray, "h w 3"],
    colors: Palette,
    count: int,
    mark: Callable[[ImageDraw.ImageDraw, tuple[int, ...]], None],
) -> Float[np.ndarray, "h w 3"]:
    """Draw `count` marks over a ground, each in one of the colors, a little lighter or darker."""
    low, high = np.array([0, -0.4, -0.4]), np.array([1, 0.4, 0.4])  # what OKLab's channels can be
    height, width = ground.shape[:2]
    scaled = np.round(255 * np.clip((ground - low) / (high - low), 0, 1)).astype(np.uint8)
    image = Image.fromarray(scaled).resize((SMOOTH * width, SMOOTH * height))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        color = colors[rng.integers(len(colors))] + [0.04 * rng.standard_normal(), 0, 0]
        mark(draw, tuple(int(each) for each in np.clip(np.round(255 * (color - low) / (high - low)), 0, 255)))
    small = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(small) / 255 * (high - low) + low


_TEXTURES: dict[str, Callable[[np.random.Generator, Palette, int, int], Float[np.ndarray, "h w 3"]]] = {
    "noise": _colored_noise,
    "stripes": _stripes,
    "cells": _cells,
    "checks": _checks,
    "dots": _dots,
    "streaks": _streaks,
    "marble": _marble,
    "strokes": _strokes,
}
"""Noise whose amplitude falls with frequency, wavy stripes, Voronoi cells with dark seams, irregular checks, dots,
brushed streaks, marble and brush strokes."""


def numbered(count: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> list[tuple[str, int]]:
    """The first `count` styles as kinds and seeds: each kind in turn, with seeds from `seed` on."""
    return [(kinds[index % len(kinds)], seed + index // len(kinds)) for index in range(count)]
