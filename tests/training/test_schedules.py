"""Learning rates and optimizers, next to torch's."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from sparseshape_jax.errors import InputError
from sparseshape_jax.training.config import OptimizerConfig, ScheduleConfig
from sparseshape_jax.training.optimizers import build_optimizer
from sparseshape_jax.training.schedules import Plateau, learning_rate


@pytest.mark.parametrize(
    "settings",
    [
        OptimizerConfig(momentum=0.0, weight_decay=0.1),
        OptimizerConfig(momentum=0.9, weight_decay=0.0),
        OptimizerConfig(nesterov=True, weight_decay=0.1, clip_norm=0.5),
        OptimizerConfig(weight_decay=0.1, decay_norm_and_bias=False),
        OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.05),
        OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.05, decay_norm_and_bias=False, beta2=0.9),
    ],
    ids=["plain", "momentum", "nesterov clipped", "kernels decay", "adamw", "adamw kernels"],
)
@pytest.mark.parametrize(
    "schedule",
    [ScheduleConfig(), ScheduleConfig(kind="step", milestones=(1, 2), gamma=0.3)],
    ids=["cosine", "step"],
)
def test_optimizers_and_schedules_equal_torchs(torch, settings, schedule):
    """Twelve steps of three epochs with random gradients; torch's schedulers move between epochs."""
    with jax.numpy_dtype_promotion("standard"):  # optax's AdamW needs it
        twelve_steps(torch, settings, schedule)


def twelve_steps(torch, settings, schedule):
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(4, 3)).astype(np.float32), "bias": rng.normal(size=3).astype(np.float32)}
    theirs = {name: torch.nn.Parameter(torch.from_numpy(array.copy())) for name, array in params.items()}
    groups = [
        {"params": [theirs["kernel"]], "weight_decay": settings.weight_decay},
        {"params": [theirs["bias"]], "weight_decay": settings.weight_decay * settings.decay_norm_and_bias},
    ]
    if settings.name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, settings.beta2))
    else:
        optimizer = torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov
        )
    if schedule.kind == "step":
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], gamma=0.3)
    else:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    rate = learning_rate(replace(schedule, per_epoch=True), settings.learning_rate, epochs=3, steps_per_epoch=4)
    ours = build_optimizer(settings, rate)
    state = ours.init(params)
    for step in range(12):
        gradient = {name: rng.normal(size=array.shape).astype(np.float32) for name, array in params.items()}
        updates, state = ours.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(gradient[name])
        if settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs.values(), settings.clip_norm)
        optimizer.step()
        if step % 4 == 3:
            scheduler.step()
        for name, parameter in theirs.items():
            np.testing.assert_allclose(params[name], parameter.detach().numpy(), rtol=2e-5, atol=1e-6)


def test_the_learning_rate_warms_up_and_ends_where_it_should():
    rate = learning_rate(ScheduleConfig(warmup_epochs=2, final_factor=0.1), 0.4, epochs=10, steps_per_epoch=5)
    np.testing.assert_allclose([rate(step) for step in range(10)], 0.04 * np.arange(1, 11), rtol=1e-6)
    assert float(rate(10)) == pytest.approx(0.4)
    assert float(rate(30)) == pytest.approx(0.4 * (1 + 0.1) / 2), "half way down the cosine"
    assert float(rate(50)) == pytest.approx(0.04)
    constant = learning_rate(ScheduleConfig(kind="constant"), 0.4, epochs=1, steps_per_epoch=1)
    assert float(constant(7)) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"patience": 2}, {"patience": 0, "factor": 0.5}, {"patience": 1, "threshold": 0.1}],
    ids=["defaults", "patience", "none", "threshold"],
)
def test_a_plateau_is_torchs(torch, settings):
    """Sixty losses that fall more and more slowly, with noise, and one that is not a number."""
    schedule = ScheduleConfig(kind="plateau", **settings)
    rng = np.random.default_rng(3)
    losses = np.float32(np.exp(-np.arange(60) / 8) + 0.05 * rng.random(60))
    losses[20] = np.nan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=schedule.factor, patience=schedule.patience, threshold=schedule.threshold, eps=0
    )
    plateau = Plateau.start()
    reductions = set()
    for loss in losses:
        theirs.step(float(loss))
        plateau = plateau.after(float(loss), schedule)
        assert float(plateau.scale) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        assert int(plateau.waited) == theirs.num_bad_epochs
        reductions.add(float(plateau.scale))
    assert len(reductions) > 1, "it was reduced at least once"
    rate = learning_rate(schedule, 0.4, epochs=3, steps_per_epoch=4)
    assert float(rate(0)) == float(rate(11)) == pytest.approx(0.4), "the rate before any reduction"


def test_settings_refuse_what_cannot_be():
    for make in (lambda: OptimizerConfig(learning_rate=-1), lambda: ScheduleConfig(kind="step")):
        with pytest.raises(InputError):
            make()
    for name, value in (("factor", 1.5), ("patience", -1), ("threshold", float("nan"))):
        with pytest.raises(InputError, match=f"schedule.{name} is {value}"):
            ScheduleConfig(kind="plateau", **{name: value})
