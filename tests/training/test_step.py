"""The training step beside the same step in torch, and what it does with schedules, averages and faults."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from sparseshape_jax import models, parallel
from sparseshape_jax.data.preprocessing import Preprocessing
from sparseshape_jax.errors import InputError
from sparseshape_jax.placement import TopK, place
from sparseshape_jax.training.config import Classifier, Optimiser, Schedule, Sparsity
from sparseshape_jax.training.schedules import learning_rate, placed, progress, transformation
from sparseshape_jax.training.step import Stepper
from sparseshape_jax.weights.assign import assign, export

PREPROCESSING = Preprocessing(resize=32, crop=32)
CLASSES = 10


def batch(number: int, size: int = 16, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (size, side, side, 3), np.uint8), rng.integers(0, CLASSES, size).astype(np.int32)


def torch_top_k(torch, x, fraction):
    """The reference's operator, with ties to the lower index as ours."""
    flat = x.flatten(2)
    k = max(1, int(fraction * flat.shape[-1]))
    order = torch.sort(flat.detach().abs(), dim=-1, descending=True, stable=True).indices[..., :k]
    return (flat * torch.zeros_like(flat).scatter_(-1, order, 1.0)).view_as(x)


@pytest.mark.parametrize("fraction", [pytest.param(1.0, marks=pytest.mark.slow), 0.2], ids=["dense", "top-k"])
def test_three_steps_of_resnet18_equal_torch(torch, torchvision, fraction):
    """In float64: in float32 both round, and a rectified value that near to 0 lets the gradients differ by 0.5 %."""
    with jax.enable_x64(True):
        three_steps(torch, torchvision, fraction)


def three_steps(torch, torchvision, fraction):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=CLASSES)
    ours = models.build("resnet18", num_classes=CLASSES, rngs=nnx.Rngs(0))
    assign(ours, {name: np.asarray(tensor) for name, tensor in theirs.state_dict().items() if "num" not in name})
    weights = nnx.state(ours, (nnx.Param, nnx.BatchStat))
    nnx.update(ours, jax.tree.map(lambda array: array.astype(np.float64), weights))
    theirs = theirs.double()
    before = {name: tensor.numpy().copy() for name, tensor in theirs.state_dict().items()}
    theirs.train()
    if fraction < 1:
        theirs.layer2.register_forward_hook(lambda module, args, out: torch_top_k(torch, out, fraction))
    torch_optimiser = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    settings = Optimiser(learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    stepper = Stepper(ours, PREPROCESSING, transformation(settings, lambda step: 0.01), label_smoothing=0.1)
    at = place(TopK(fraction, after=("layer2",)), ours)
    step = parallel.over_all_devices(stepper.train(at), donate=True)
    state = parallel.replicate(stepper.start())
    for number in range(3):
        pixels, labels = batch(number, size=8)
        state, metrics = step(state, (pixels, labels), np.float32(1))

        normalised = (pixels / 255 - PREPROCESSING.mean) / PREPROCESSING.std
        images = torch.from_numpy(normalised.transpose(0, 3, 1, 2).copy())
        torch_optimiser.zero_grad()
        logits = theirs(images)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long(), label_smoothing=0.1)
        loss.backward()
        torch_optimiser.step()
        assert float(metrics["loss"][0]) == pytest.approx(loss.item(), rel=1e-9)
        assert float(metrics["accuracy"][0]) == pytest.approx((logits.argmax(1).numpy() == labels).mean())

    state = parallel.first(state)
    assert state.step == 3
    got, expected = export(stepper.network(state.weights)), theirs.state_dict()
    for name, array in got.items():
        np.testing.assert_allclose(array, expected[name].numpy(), rtol=0, atol=1e-8, err_msg=name)
        change = expected[name].numpy() - before[name]
        assert np.linalg.norm(array - before[name] - change) < 1e-5 * np.linalg.norm(change), name


@pytest.mark.parametrize(
    "settings",
    [
        Optimiser(momentum=0.0, weight_decay=0.1),
        Optimiser(momentum=0.9, weight_decay=0.0),
        Optimiser(nesterov=True, weight_decay=0.1, clip_norm=0.5),
        Optimiser(weight_decay=0.1, decay_norm_and_bias=False),
        Optimiser(name="adamw", learning_rate=0.01, weight_decay=0.05),
        Optimiser(name="adamw", learning_rate=0.01, weight_decay=0.05, decay_norm_and_bias=False, beta2=0.9),
    ],
    ids=["plain", "momentum", "nesterov clipped", "kernels decay", "adamw", "adamw kernels"],
)
@pytest.mark.parametrize(
    "schedule", [Schedule(), Schedule(kind="step", milestones=(1, 2), gamma=0.3)], ids=["cosine", "step"]
)
def test_optimisers_and_schedules_equal_torchs(torch, settings, schedule):
    """Twelve steps of three epochs with random gradients; torch's schedulers move between epochs."""
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(4, 3)).astype(np.float32), "bias": rng.normal(size=3).astype(np.float32)}
    theirs = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in params.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": settings.weight_decay},
        {"params": [theirs["bias"]], "weight_decay": settings.weight_decay * settings.decay_norm_and_bias},
    ]
    if settings.name == "adamw":
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, settings.beta2))
    else:
        optimiser = torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov
        )
    if schedule.kind == "step":
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [1, 2], gamma=0.3)
    else:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=3)
    rate = learning_rate(replace(schedule, per_epoch=True), settings.learning_rate, epochs=3, steps_per_epoch=4)
    ours = transformation(settings, rate)
    state = ours.init(params)
    for step in range(12):
        gradient = {name: rng.normal(size=array.shape).astype(np.float32) for name, array in params.items()}
        updates, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradient[name])
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), settings.clip_norm)
        optimiser.step()
        if step % 4 == 3:
            scheduler.step()
        for name, parameter in theirs.items():
            np.testing.assert_allclose(params[name], parameter.detach().numpy(), rtol=2e-5, atol=1e-6)


def test_the_learning_rate_warms_up_and_ends_where_it_should():
    rate = learning_rate(Schedule(warmup_epochs=2, final_factor=0.1), 0.4, epochs=10, steps_per_epoch=5)
    np.testing.assert_allclose([rate(step) for step in range(10)], 0.04 * np.arange(1, 11), rtol=1e-6)
    assert float(rate(10)) == pytest.approx(0.4)
    assert float(rate(30)) == pytest.approx(0.4 * (1 + 0.1) / 2), "half way down the cosine"
    assert float(rate(50)) == pytest.approx(0.04)
    assert float(learning_rate(Schedule(kind="constant"), 0.4, epochs=1, steps_per_epoch=1)(7)) == pytest.approx(0.4)


def test_how_far_top_k_has_come():
    assert [progress(Sparsity(), epoch) for epoch in (0, 3)] == [1, 1]
    assert [progress(Sparsity(schedule="anneal", epochs=4), epoch) for epoch in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert [progress(Sparsity(schedule="from_epoch", epochs=2), epoch) for epoch in (0, 1.9, 2, 5)] == [0, 0, 1, 1]


@cache
def small(dropout: float = 0.0) -> models.Network:
    return models.build("resnet_small", num_classes=CLASSES, dropout=dropout, rngs=nnx.Rngs(0))


def steps(at, *, count=3, progress=1.0, **options):
    """States after each of some steps of the small network, and the metrics."""
    stepper = Stepper(small(), Preprocessing(resize=32, crop=32), optax.sgd(0.1), **options)
    step = parallel.over_all_devices(stepper.train(at), donate=False)
    states, metrics = [parallel.replicate(stepper.start())], []
    for number in range(count):
        state, measured = step(states[-1], batch(number, side=32), np.float32(progress))
        states.append(state)
        metrics.append(parallel.first(measured))
    return stepper, states, metrics


def test_the_average_is_an_exponential_moving_one():
    _, states, _ = steps({}, average=0.9)
    average = parallel.first(states[0]).weights
    for state in states[1:]:
        weights = parallel.first(state).weights
        average = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, average, weights)
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
            parallel.first(state).evaluated,
            average,
        )
    assert steps({}, count=1)[1][-1].average is None


def test_annealing_runs_one_program_from_dense_to_the_fraction():
    config = Classifier(model="resnet18_code_spec", topk=TopK(0.2, after=("layer2",)))
    between = placed(config, small(), 0.5)
    for end in (0.0, 1.0):
        fixed = steps(placed(config, small(), end))[2]
        traced = steps(between, progress=end)[2]
        for one, other in zip(fixed, traced, strict=True):
            for name in one:
                np.testing.assert_allclose(one[name], other[name], rtol=2e-5, err_msg=f"{name} at {end}")
    halfway = steps(between, progress=0.5)[2]
    sixty = steps(placed(Classifier(topk=TopK(0.6, after=("layer2",))), small(), 1.0))[2]
    np.testing.assert_allclose(halfway[-1]["loss"], sixty[-1]["loss"], rtol=2e-5)


def test_evaluation_counts_like_numpy():
    stepper, states, _ = steps({})
    pixels, labels = batch(7, size=16, side=32)
    labels[[3, 11]] = -1
    evaluate = parallel.over_all_devices(stepper.evaluate({}))
    sums = parallel.first(evaluate(states[-1].evaluated, (pixels, labels), np.float32(1)))
    network = stepper.network(parallel.first(states[-1]).weights)
    logits = np.asarray(network(PREPROCESSING.normalise(np.float32(pixels) / 255)), np.float64)
    kept = labels >= 0
    order = np.argsort(-logits, axis=1, kind="stable")
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert sums["n"] == kept.sum() == 14
    assert sums["top1"] == (order[kept, 0] == labels[kept]).sum()
    assert sums["top5"] == (order[kept, :5] == labels[kept, None]).sum()
    np.testing.assert_allclose(sums["loss"], -log_softmax[kept, labels[kept]].sum(), rtol=1e-4)


def test_a_network_that_says_nothing_is_not_right():
    """Equal logits are a guess of the first class; logits that are no numbers are wrong."""
    stepper, states, _ = steps({}, count=0)
    pixels, _ = batch(0, size=8, side=32)
    evaluate = parallel.over_all_devices(stepper.evaluate({}))
    for value, hits in ((0.0, 1), (np.nan, 0)):
        weights = jax.tree.map(lambda array, value=value: array * 0 + value, states[0].evaluated)
        sums = parallel.first(evaluate(weights, (pixels, np.arange(8, dtype=np.int32)), np.float32(1)))
        assert (sums["top1"], sums["top5"]) == (hits, 5 * hits)


def test_a_fault_shows_in_the_metrics():
    stepper = Stepper(small(), Preprocessing(resize=32, crop=32), optax.sgd(np.float32(np.inf)))
    step = parallel.over_all_devices(stepper.train({}))
    _, metrics = step(parallel.replicate(stepper.start()), batch(0, side=32), np.float32(1))
    assert not np.isfinite(parallel.first(metrics)["change"])


def test_dropout_depends_on_seed_and_step_alone():
    def losses(seed: int) -> list[float]:
        """Of the first two steps, and of the first once more."""
        stepper = Stepper(small(0.5), Preprocessing(resize=32, crop=32), optax.sgd(0.0), seed=seed)
        step = parallel.over_all_devices(stepper.train({}))
        start = parallel.replicate(stepper.start())
        after, first = step(start, batch(0), np.float32(1))
        measured = (first, step(after, batch(0), np.float32(1))[1], step(start, batch(0), np.float32(1))[1])
        return [float(parallel.first(metrics)["loss"]) for metrics in measured]

    one, other = losses(0), losses(1)
    assert (one[0], other[0]) == (one[2], other[2])
    assert len({*one[:2], *other[:2]}) == 4, "every step and seed has its own mask"


def test_settings_refuse_what_cannot_be():
    for make in (
        lambda: Optimiser(learning_rate=-1),
        lambda: Schedule(kind="step"),
        lambda: Sparsity(schedule="anneal"),
        lambda: Sparsity(eval_fraction=1.5),
        lambda: Classifier(epochs=0),
        lambda: Classifier(eval={"val": "x"}),
    ):
        with pytest.raises(InputError):
            make()
