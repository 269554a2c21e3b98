"""The example of a new job in CONTRIBUTING.md runs as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.packages import require_package

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path) -> Path:
    """The job and its imports in a file, and two images to run it on."""
    job, imports = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len((imports + job).splitlines()) < 60
    (tmp_path / "active.py").write_text(imports + job, encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path


def test_the_example_runs_resumes_and_refuses(example):
    require_package("ndf")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "active.py", "active", "--batch_size", "2", *arguments]
        return subprocess.run(command, cwd=example, capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stderr
    content = json.loads((example / "results/active/results.json").read_text())
    shares = {row["activation"]: row["active"] for row in content["rows"]}
    assert shares["relu1"] == pytest.approx(0.5, abs=0.3)
    assert shares["pool1"] == pytest.approx(45 / 225)  # of 15×15 positions
    assert content["rows"][0]["top_k"][0]["after"] == ["pool1", "pool3", "pool5"]
    assert (example / "results/active/figures/active.png").is_file()
    assert run().returncode == 0
    assert json.loads((example / "results/active/results.json").read_text()) == content
    refused = run("--fraction", "2")
    assert refused.returncode == 2
    assert refused.stderr == "error: Top-K: the keep fraction is 2.0; it must be in (0, 1], for example 0.2 for 20 %\n"
