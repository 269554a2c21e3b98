"""Strong-Wolfe line search, one trial at a time.

Nocedal & Wright, Numerical Optimization (2006), algorithms 3.5 (bracketing) and 3.6 (zoom), turned inside out: the
caller evaluates the objective at `Search.step` and hands value and slope to `advance`. The answer is the next step to
try, or that this one is accepted. Both algorithms keep the best point so far (`low`) and a point beyond the minimum
(`high`); while none is known, `high` lies at infinity. So one rule serves both. It has no loops or branches and can be
vmapped.

Departures from the book:

- A value may rise by `slack`, relative to the one at the start, and still count as a decrease, if the slopes fit: Hager
  & Zhang's approximate Wolfe conditions (2005), where rounding error is the smallest slack.
- A value or slope that is not finite counts as infinitely high, and the interval is halved.
- Cubic interpolation stays a tenth of the interval away from its ends; extrapolation goes at most ten steps ahead.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Point(NamedTuple):
    """A point on the line: step length, value of the objective and its derivative along the line."""

    step: Array
    value: Array
    slope: Array


class Search(NamedTuple):
    """A search in progress; `step` is to be evaluated next. All are scalars."""

    start: Point
    low: Point
    high: Point
    step: Array


def begin(value: Array, slope: Array, step: Array) -> Search:
    """Start a search from a point with this value and (negative) slope; `step` is the first trial."""
    zero, infinity = jnp.zeros_like(value), jnp.full_like(value, jnp.inf)
    start = Point(zero, value, slope)
    return Search(start, start, Point(infinity, infinity, zero), step.astype(value.dtype))


def rounding_error(value: Array) -> Array:
    """The largest difference from `value` that counts as rounding error in a sum of many terms."""
    return 10 * jnp.finfo(value.dtype).eps * jnp.abs(value)


def advance(search: Search, value: Array, slope: Array, *, c1: float, c2: float, slack: float) -> tuple[Search, Array]:
    """Enter the trial at `search.step`; return the search with its next step, and whether this trial is accepted."""
    start, low, high, step = search
    finite = jnp.isfinite(value) & jnp.isfinite(slope)
    trial = Point(step, jnp.where(finite, value, jnp.inf), jnp.where(finite, slope, 0))
    rise = jnp.maximum(rounding_error(start.value), slack * jnp.abs(start.value))

    worse = (trial.value > start.value + c1 * step * start.slope + rise) | (trial.value > low.value + rise)
    accepted = ~worse & (jnp.abs(trial.slope) <= -c2 * start.slope)
    # Where the objective rises from the trial toward `high`, the minimum lies between the trial and the former low.
    rising = trial.slope * jnp.sign(high.step - low.step) >= 0
    new_low = _choose(worse, low, trial)
    new_high = _choose(worse, trial, _choose(rising, low, high))

    nearer, farther = jnp.minimum(new_low.step, new_high.step), jnp.maximum(new_low.step, new_high.step)
    margin = 0.1 * (farther - nearer)
    next_step = jnp.where(
        jnp.isfinite(farther),
        _cubic_minimum(new_low, new_high, nearer + margin, farther - margin),
        _cubic_minimum(low, trial, step + 0.01 * (step - low.step), 10 * step),
    )
    return Search(start, new_low, new_high, next_step), accepted


def _cubic_minimum(a: Point, b: Point, lowest: Array, highest: Array) -> Array:
    """The minimum of the cubic through two points (N&W 3.59), clipped; the middle where there is none."""
    d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    d2 = jnp.sign(b.step - a.step) * jnp.sqrt(d1**2 - a.slope * b.slope)
    step = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2)
    return jnp.where(jnp.isfinite(step), jnp.clip(step, lowest, highest), (lowest + highest) / 2)


def _choose(condition: Array, yes: Point, no: Point) -> Point:
    return Point(*(jnp.where(condition, y, n) for y, n in zip(yes, no, strict=True)))
