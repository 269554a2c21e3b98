"""Each rule against its formula, written with loops over a matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.relevance.composite import COMPOSITES, Composite, Rule, read_rule
from sparseshape_jax.relevance.rules import ACCOUNT, Convolution, Dense, Settings, propagate, scaled, share_out

LOW, HIGH = (-2.0, -1.5, -1.8), (2.2, 2.5, 1.9)
RULES = ("epsilon", "epsilon:0.3", "zplus", "alphabeta", "gamma", "gamma:0.7", "flat", "wsquare", "zbox")


def stab(z, epsilon=1e-6):
    return z + np.where(z >= 0, epsilon, -epsilon)


def oracle(rule, weights, bias, x, relevance, low, high):
    """For one image: W (inputs, outputs), x (inputs,), R (outputs,)."""

    def shares(contributions, b):
        return contributions @ (relevance / stab(contributions.sum(axis=0) + b))

    positive = np.maximum(x[:, None] * weights, 0)
    negative = np.minimum(x[:, None] * weights, 0)
    b_plus, b_minus = np.maximum(bias, 0), np.minimum(bias, 0)
    z = x @ weights + bias
    if rule.kind == "epsilon":
        return (x[:, None] * weights) @ (relevance / stab(z, rule.parameter))
    if rule.kind == "zplus":
        return shares(positive, b_plus)
    if rule.kind == "alphabeta":
        return 2 * shares(positive, b_plus) - shares(negative, b_minus)
    if rule.kind == "gamma":
        found = np.zeros_like(x)
        for k, value in enumerate(z):
            liked = positive if value > 0 else negative
            b_liked = b_plus if value > 0 else b_minus
            column = x * weights[:, k] + rule.parameter * liked[:, k]
            found += column * relevance[k] / stab(column.sum() + bias[k] + rule.parameter * b_liked[k])
        return found
    if rule.kind in ("flat", "wsquare"):
        there = (weights != 0).astype(float) if rule.kind == "flat" else weights**2
        return there @ (relevance / stab(there.sum(axis=0)))
    column = x[:, None] * weights - low[:, None] * np.maximum(weights, 0) - high[:, None] * np.minimum(weights, 0)
    return column @ (relevance / stab(column.sum(axis=0)))


def no_entries(count):
    return jnp.zeros((count, len(ACCOUNT)))


def as_matrix(linear, kernel, shape):
    """The (inputs, outputs) matrix of a linear layer."""
    unit = jnp.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.asarray(linear(kernel, unit)).reshape(len(unit), -1)


@pytest.mark.parametrize("spelling", RULES)
@pytest.mark.parametrize("kind", ["convolution", "strided", "grouped", "dense"])
def test_equals_the_formula(kind, spelling):
    rng = np.random.default_rng(1)
    if kind == "dense":
        linear, kernel, shape, outputs = Dense(), rng.normal(size=(3, 4)), (3,), 4
    elif kind == "grouped":
        linear = Convolution((1, 1), ((0, 0), (0, 0)), groups=3)
        kernel, shape, outputs = rng.normal(size=(2, 2, 1, 6)), (3, 4, 3), 6
    else:
        linear = Convolution((2, 2) if kind == "strided" else (1, 1), ((1, 1), (1, 1)))
        kernel, shape, outputs = rng.normal(size=(3, 3, 3, 5)), (5, 4, 3), 5
    with jax.enable_x64(True):
        kernel, bias = jnp.asarray(kernel), jnp.asarray(rng.normal(size=outputs))
        x = rng.uniform(-1.4, 1.8, (2, *shape))
        settings = Settings(linear, read_rule(spelling), False, LOW, HIGH)
        account = no_entries(2)
        y, back = jax.vjp(lambda account, x: propagate(settings, kernel, bias, account, x), account, jnp.asarray(x))
        relevance = rng.normal(size=y.shape)
        entries, found = back(jnp.asarray(relevance))
        weights = as_matrix(linear, kernel, shape)
        flat_bias = np.broadcast_to(bias, y.shape[1:]).ravel()
        low, high = (np.broadcast_to(values, shape).ravel() for values in (LOW, HIGH))
    for index in range(2):
        expected = oracle(settings.rule, weights, flat_bias, x[index].ravel(), relevance[index].ravel(), low, high)
        np.testing.assert_allclose(np.ravel(found[index]), expected, rtol=1e-9, atol=1e-9)
    out, inside, to_bias, to_stabilizer, empty, absolute = np.asarray(entries).T
    np.testing.assert_allclose(out, relevance.reshape(2, -1).sum(axis=1))
    np.testing.assert_allclose(inside, np.asarray(found).reshape(2, -1).sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(inside + to_bias + to_stabilizer + empty, out, atol=1e-9)
    sizes = [np.abs(side).reshape(2, -1).sum(axis=1) for side in (relevance, np.asarray(found))]
    np.testing.assert_allclose(absolute, np.maximum(*sizes))


@pytest.mark.parametrize("spelling", ["epsilon", "zplus", "alphabeta", "gamma"])
def test_terms_with_negative_inputs_may_be_left_out_where_there_are_none(spelling):
    rng = np.random.default_rng(2)
    linear = Convolution((1, 1), "SAME")
    kernel, bias = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 3, 4, 5), (5,)))
    x = jnp.asarray(np.maximum(rng.normal(size=(2, 6, 6, 4)), 0), jnp.float32)
    relevance = jnp.asarray(rng.normal(size=(2, 6, 6, 5)), jnp.float32)
    found = []
    for nonnegative in (False, True):
        settings = Settings(linear, read_rule(spelling), nonnegative)
        _, back = jax.vjp(lambda x, settings=settings: propagate(settings, kernel, bias, no_entries(2), x), x)
        found.append(np.asarray(back(relevance)[0]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6 * np.abs(found[0]).max())


def test_a_neuron_without_contributions_loses_its_relevance_to_the_empty_denominator():
    settings = Settings(Dense(), Rule("zplus"), True)
    kernel, x = jnp.array([[-1.0], [-2.0]]), jnp.array([[1.0, 1.0]])
    _, back = jax.vjp(lambda account, x: propagate(settings, kernel, jnp.zeros(1), account, x), no_entries(1), x)
    entries, found = back(jnp.array([[3.0]]))
    assert not found.any()
    np.testing.assert_allclose(entries, [[3, 0, 0, 0, 3, 3]])


def test_a_sum_is_shared_out_by_its_parts():
    a, b, relevance = jnp.array([[1.0, -2.0]]), jnp.array([[3.0, 1.0]]), jnp.array([[8.0, 5.0]])
    _, back = jax.vjp(lambda account, a, b: share_out(jnp.add, account, a, b), no_entries(1), a, b)
    entries, to_a, to_b = back(relevance)
    np.testing.assert_allclose(to_a, [[2, 10]], rtol=1e-5)
    np.testing.assert_allclose(to_b, [[6, -5]], rtol=1e-5)
    np.testing.assert_allclose(entries[0, :2], [13, 13], rtol=1e-5)


def test_what_is_scaled_keeps_its_relevance():
    x, factors = jnp.array([[1.0, -2.0, 0.0]]), jnp.array([[0.5, 0.1, 0.9]])
    y, back = jax.vjp(lambda x, factors: scaled(x, x * factors), x, factors)
    np.testing.assert_allclose(y, x * factors)
    relevance = jnp.array([[8.0, 5.0, -1.0]])
    to_x, to_factors = back(relevance)
    assert np.array_equal(to_x, relevance)
    assert not to_factors.any()


def test_an_epsilon_of_0_gives_no_relevance_where_there_is_none():
    settings = Settings(Dense(), Rule("epsilon", 0.0), True)
    _, back = jax.vjp(
        lambda x: propagate(settings, jnp.ones((2, 1)), jnp.zeros(1), no_entries(1), x),
        jnp.zeros((1, 2)),
    )
    assert np.array_equal(back(jnp.zeros((1, 1)))[0], [[0, 0]])


class TestComposites:
    def test_reads_rules(self):
        assert read_rule("epsilon") == Rule("epsilon", 1e-6)
        assert read_rule("epsilon:0.1") == Rule("epsilon", 0.1)
        assert read_rule("gamma") == Rule("gamma", 0.25)
        assert read_rule("zplus") == Rule("zplus")

    @pytest.mark.parametrize("spelling", ["", "lrp", "epsilon:", "epsilon:-1", "epsilon:x", "zplus:1", "gamma:nan"])
    def test_refuses_rules(self, spelling):
        with pytest.raises(InputError, match="relevance rule"):
            read_rule(spelling)
        with pytest.raises(InputError, match="relevance rule"):
            Composite(convolution=spelling)
        with pytest.raises(InputError, match="relevance rule"):
            Composite(layers={"conv1": spelling})

    def test_refuses_composites(self):
        with pytest.raises(InputError, match="no composite 'lrp'; there are epsilon_gamma_box"):
            Composite("lrp")
        with pytest.raises(InputError, match="relevance rule"):
            Composite(first="dense")

    @pytest.mark.parametrize("name", COMPOSITES)
    def test_rules_of_roles(self, name):
        composite = Composite(name)
        dense = composite.rule("fc", "dense", first=False, head=False)
        assert composite.rule("conv10", "convolution", first=False, head=True) == dense
        as_convolution = Composite(name, head="convolution").rule("conv10", "convolution", first=False, head=True)
        assert as_convolution == composite.rule("conv2", "convolution", first=False, head=False)
        own = Composite(name, layers={"conv2": "gamma:0.5"}, dense="epsilon:0.2")
        assert own.rule("conv2", "convolution", first=False, head=False) == Rule("gamma", 0.5)
        assert own.rule("fc", "dense", first=False, head=True) == Rule("epsilon", 0.2)

    @pytest.mark.parametrize("rule", ["flat", "wsquare", "zbox"])
    def test_refuses_rules_of_the_first_layer_elsewhere(self, rule):
        with pytest.raises(InputError, match="for the first convolution only, not for conv2"):
            Composite(layers={"conv2": rule}).rule("conv2", "convolution", first=False, head=False)
