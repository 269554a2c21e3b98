"""The training step next to the same step in torch, and what it does with annealing, averages and faults."""

from functools import cache

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from support.torch_reference import torch_top_k

from sparseshape_jax import models, parallel
from sparseshape_jax.classifier.config import SparsityConfig, TrainClassifierConfig
from sparseshape_jax.classifier.sparsity import annealing_progress, eval_placement, train_operators
from sparseshape_jax.classifier.step import ClassifierStep
from sparseshape_jax.errors import InputError
from sparseshape_jax.evaluation.metrics import Tally
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.preprocessing import Preprocessing
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.training.config import OptimizerConfig
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.weights.assign import assign, export

PREPROCESSING = Preprocessing(resize=32, crop=32)
CLASSES = 10


def batch(number: int, size: int = 16, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (size, side, side, 3), np.uint8), rng.integers(0, CLASSES, size).astype(np.int32)


@pytest.mark.parametrize("fraction", [pytest.param(1.0, marks=pytest.mark.slow), 0.2], ids=["dense", "top-k"])
def test_three_steps_of_resnet18_equal_torch(torch, torchvision, fraction):
    """In float64: in float32 both round, and a rectified value that near to 0 lets the gradients differ by 0.5 %."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):  # Flax's normalization needs the latter
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
    torch_optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    settings = OptimizerConfig(learning_rate=0.01, momentum=0.9, weight_decay=5e-4)
    stepper = ClassifierStep(ours, PREPROCESSING, build_optimizer(settings, lambda step: 0.01), label_smoothing=0.1)
    at = place(TopK(fraction, after=("layer2",)), ours)
    step = parallel.data_parallel(stepper.train(lambda _: at), donate=True)
    state = parallel.replicate(stepper.start())
    for number in range(3):
        pixels, labels = batch(number, size=8)
        state, metrics = step(state, (pixels, labels), np.float32(1))

        normalized = (pixels / 255 - PREPROCESSING.mean) / PREPROCESSING.std
        images = torch.from_numpy(normalized.transpose(0, 3, 1, 2).copy())
        torch_optimizer.zero_grad()
        logits = theirs(images)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long(), label_smoothing=0.1)
        loss.backward()
        torch_optimizer.step()
        assert float(metrics["loss"][0]) == pytest.approx(loss.item(), rel=1e-9)
        assert float(metrics["accuracy"][0]) == pytest.approx((logits.argmax(1).numpy() == labels).mean())

    state = parallel.unreplicate(state)
    assert state.step == 3
    got, expected = export(stepper.network(state.weights)), theirs.state_dict()
    for name, array in got.items():
        np.testing.assert_allclose(array, expected[name].numpy(), rtol=0, atol=1e-8, err_msg=name)
        change = expected[name].numpy() - before[name]
        assert np.linalg.norm(array - before[name] - change) < 1e-5 * np.linalg.norm(change), name


def test_annealing_progress():
    anneal, late = SparsityConfig(schedule="anneal", epochs=4), SparsityConfig(schedule="from_epoch", epochs=2)
    assert [annealing_progress(SparsityConfig(), epoch) for epoch in (0, 3)] == [1, 1]
    assert [annealing_progress(anneal, epoch) for epoch in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert [annealing_progress(late, epoch) for epoch in (0, 1.9, 2, 5)] == [0, 0, 1, 1]


@cache
def small(dropout: float = 0.0) -> models.Network:
    return models.build("resnet_small", num_classes=CLASSES, dropout=dropout, rngs=nnx.Rngs(0))


def dense(_):
    return {}


def steps(operators, *, count=3, progress=1.0, **options):
    """States after each of some steps of the small network, and the metrics."""
    stepper = ClassifierStep(small(), PREPROCESSING, optax.sgd(0.1), **options)
    step = parallel.data_parallel(stepper.train(operators), donate=False)
    states, metrics = [parallel.replicate(stepper.start())], []
    for number in range(count):
        state, measured = step(states[-1], batch(number, side=32), np.float32(progress))
        states.append(state)
        metrics.append(parallel.unreplicate(measured))
    return stepper, states, metrics


def test_the_average_is_an_exponential_moving_one():
    _, states, _ = steps(dense, average=0.9)
    average = parallel.unreplicate(states[0]).weights
    for state in states[1:]:
        weights = parallel.unreplicate(state).weights
        average = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, average, weights)
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6),
            parallel.unreplicate(state).evaluated,
            average,
        )
    assert steps(dense, count=1)[1][-1].average is None


def test_annealing_runs_one_program_from_dense_to_the_fraction():
    config = TrainClassifierConfig(model="resnet18_cifar", topk=TopK(0.2, after=("layer2",)))
    between = train_operators(config, small(), 0.5)
    for end in (0.0, 1.0):
        fixed = steps(train_operators(config, small(), end))[2]
        traced = steps(between, progress=end)[2]
        for one, other in zip(fixed, traced, strict=True):
            for name in one:
                np.testing.assert_allclose(one[name], other[name], rtol=2e-5, err_msg=f"{name} at {end}")
    halfway = steps(between, progress=0.5)[2]
    config = TrainClassifierConfig(topk=TopK(0.6, after=("layer2",)))
    sixty = steps(train_operators(config, small(), 1.0))[2]
    np.testing.assert_allclose(halfway[-1]["loss"], sixty[-1]["loss"], rtol=2e-5)


def test_evaluation_has_the_fraction_of_training_or_its_own():
    config = TrainClassifierConfig(topk=TopK(0.2, after=("layer2",)))
    assert eval_placement(config, small(), 0) == {}
    assert eval_placement(config, small(), 0.5) == {"layer2": TopK(0.6, after=("layer2",))}
    assert eval_placement(config, small(), 1) == {"layer2": TopK(0.2, after=("layer2",))}
    sparsity = SparsityConfig(placement="2_50", eval_fraction=0.1)
    config = TrainClassifierConfig(topk=TopK(scope="channel"), sparsity=sparsity)
    for progress in (0, 0.5, 1):
        assert eval_placement(config, small(), progress) == {"layer2": TopK(0.1, scope="channel", after=("layer2",))}


def test_evaluation_counts_like_numpy():
    stepper, states, _ = steps(dense)
    pixels, labels = batch(7, size=16, side=32)
    kept = ~np.isin(np.arange(16), [3, 11])
    network = stepper.network(parallel.unreplicate(states[-1]).weights)
    tally = Tally(range(CLASSES))
    tally.add(Predictor(network, PREPROCESSING).logits()(pixels)[kept], labels[kept])
    sums = dict(zip(("n", "top1", "top5", "loss"), tally.counts[:4].sum(axis=1), strict=True))
    logits = np.asarray(network(PREPROCESSING.normalize(np.float32(pixels) / 255)), np.float64)
    order = np.argsort(-logits, axis=1, kind="stable")
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert sums["n"] == kept.sum() == 14
    assert sums["top1"] == (order[kept, 0] == labels[kept]).sum()
    assert sums["top5"] == (order[kept, :5] == labels[kept, None]).sum()
    np.testing.assert_allclose(sums["loss"], -log_softmax[kept, labels[kept]].sum(), rtol=1e-4)


def test_a_network_that_says_nothing_is_not_right():
    """Equal logits are a guess of the first class; logits that are not numbers are wrong."""
    stepper, states, _ = steps(dense, count=0)
    pixels, _ = batch(0, size=8, side=32)
    predictor = Predictor(stepper.network(parallel.unreplicate(states[0]).evaluated), PREPROCESSING)
    for value, hits in ((0.0, 1), (np.nan, 0)):
        weights = parallel.unreplicate(states[0].evaluated)
        weights = jax.tree.map(lambda array, value=value: array * 0 + np.float32(value), weights)
        predictor.update(stepper.network(weights))
        tally = Tally(range(CLASSES))
        tally.add(predictor.logits()(pixels), np.arange(8, dtype=np.int32))
        _, top1, top5, *_ = tally.counts.sum(axis=1)
        assert (top1, top5) == (hits, 5 * hits)


def test_a_fault_shows_in_the_metrics():
    stepper = ClassifierStep(small(), PREPROCESSING, optax.sgd(np.float32(np.inf)))
    step = parallel.data_parallel(stepper.train(dense))
    _, metrics = step(parallel.replicate(stepper.start()), batch(0, side=32), np.float32(1))
    assert not np.isfinite(parallel.unreplicate(metrics)["change"])


def test_dropout_depends_on_seed_and_step_alone():
    def losses(seed: int) -> list[float]:
        """Of the first two steps, and of the first once more."""
        stepper = ClassifierStep(small(0.5), PREPROCESSING, optax.sgd(0.0), seed=seed)
        step = parallel.data_parallel(stepper.train(dense))
        start = parallel.replicate(stepper.start())
        after, first = step(start, batch(0), np.float32(1))
        measured = (first, step(after, batch(0), np.float32(1))[1], step(start, batch(0), np.float32(1))[1])
        return [float(parallel.unreplicate(metrics)["loss"]) for metrics in measured]

    one, other = losses(0), losses(1)
    assert (one[0], other[0]) == (one[2], other[2])
    assert len({*one[:2], *other[:2]}) == 4, "every step and seed has its own mask"


def test_settings_refuse_what_cannot_be():
    for make in (
        lambda: SparsityConfig(schedule="anneal"),
        lambda: SparsityConfig(eval_fraction=1.5),
        lambda: SparsityConfig(placement="layer2_20"),
        lambda: TrainClassifierConfig(epochs=0),
        lambda: TrainClassifierConfig(eval={"val": "x"}),
    ):
        with pytest.raises(InputError):
            make()
