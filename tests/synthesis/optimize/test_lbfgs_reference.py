"""L-BFGS on the reference's own objectives, from its own start, against what `torch.optim.LBFGS` reached there."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sparseshape_jax.synthesis import pixels
from sparseshape_jax.synthesis.objective import KEEPS, Objective, per_image_value_and_grad, terms_for
from sparseshape_jax.synthesis.optimize.lbfgs import lbfgs
from sparseshape_jax.synthesis.optimize.minimize import Minimizer
from sparseshape_jax.synthesis.pixels import Parameterization
from sparseshape_jax.top_k.spec import TopK

REFERENCE, OURS = Parameterization("sigmoid", 0), Parameterization("sigmoid", 0.5)
LAYERS = ("relu1_1", "pool1", "pool2", "pool3", "pool4")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["texture.top.1.0", "texture.rest.0.05", "reconstruction.top.0.05"])
@pytest.mark.parametrize("parameterization", [REFERENCE, OURS], ids=["reference", "whitened"])
def test_no_worse_than_torch_after_as_many_evaluations(vgg_trunk, reference_data, case, parameterization):
    kind, keep_name, fraction = case.split(".", 2)
    torch_reached = json.loads((reference_data / "goldens" / "lbfgs_reference.json").read_text())[case]
    golden = np.load(reference_data / "goldens" / "synthesis_objective_reference.npz")
    objective = Objective(terms_for(kind, LAYERS), TopK(float(fraction)))
    keep = jnp.asarray([KEEPS.index(keep_name)])
    target = vgg_trunk.preprocessing.normalize(jnp.asarray(golden["target_rgb"])[None])
    low, high = pixels.value_range(target)
    start = parameterization.to_params(jnp.asarray(golden["noise_normalised"])[None], low, high)
    graphdef, state = nnx.split(vgg_trunk.network)
    targets = jax.jit(lambda state: objective.targets(nnx.merge(graphdef, state, copy=True), {"image": target}, keep))(
        state
    )

    def losses(params, targets, scale, state):
        network = nnx.merge(graphdef, state, copy=True)
        image = parameterization.to_normalized(params, low, high)
        return objective.losses(network, image, targets, keep) / scale

    first = float(jax.jit(losses)(start, targets, 1.0, state)[0])
    assert first == pytest.approx(torch_reached["first_loss"], rel=1e-3)
    minimizer = Minimizer(per_image_value_and_grad(losses), lbfgs())
    result = minimizer.minimize(start, targets, first, state, steps=200)
    best = np.fmin.accumulate(result.losses[0]) * first
    for evaluations in (50, 100, 200):
        assert best[evaluations - 1] <= 1.1 * torch_reached["loss_after_evaluations"][str(evaluations)], evaluations
