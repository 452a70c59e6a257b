"""The memory of `train` grows neither with the data nor with time; benchmarks/memory.py measures 10 MB and 1 GB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "memory.py"

# Trains on batches of 256 shapes, as a long training meets them, and prints by how many megabytes it grew meanwhile.
SHAPES = """
import torch
import calque.model

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3

def train(rows, steps):
    layer(torch.zeros(rows, steps, 256))[0].sum().backward()

torch.set_num_threads(1)
layer = torch.nn.LSTM(256, 256, batch_first=True)
train(17, 17)
before = anonymous()
for rows in range(1, 17):
    for steps in range(1, 17):
        train(rows, steps)
print(anonymous() - before)
"""


@pytest.mark.slow
def test_three_times_the_text_takes_as_much_memory(tmp_path: Path) -> None:
    """Differ by at most 100 MB of peak anonymous memory, children included.

    The smaller has already all the text that the tokenizers are learned from.
    """
    command = [sys.executable, str(SCRIPT), "--megabytes", "11", "34", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    small, large = report["runs"]
    assert large["megabytes"] > 3 * small["megabytes"]
    assert min(small["peak"], large["peak"]) > 50
    assert report["difference"] <= 100


def test_batches_of_many_shapes_leave_little_behind() -> None:
    """Keep the code that the library compiles for each shape within bounds: without them it comes to some 150 MB."""
    environment = {name: value for name, value in os.environ.items() if "PRIMITIVE_CACHE" not in name}
    command = [sys.executable, "-c", SHAPES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 70
