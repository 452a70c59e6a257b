"""The memory of `train` grows neither with the data nor with time; benchmarks/memory.py measures 10 MB and 1 GB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "memory.py"

# Calls a verb of calque; when it first computes an LSTM, computes batches of 256 shapes, as a long training does, and
# prints the growth in megabytes.
SHAPES = """
import sys
import calque
import torch

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1e3

def compute(rows, steps):
    layer(torch.zeros(rows, steps, 256))[0].sum().backward()

def before_lstm(module, inputs):
    if isinstance(module, torch.nn.LSTM):
        hook.remove()
        with torch.inference_mode(False), torch.enable_grad():
            compute(17, 17)
            before = anonymous()
            for rows in range(1, 17):
                for steps in range(1, 17):
                    compute(rows, steps)
        print(anonymous() - before)

pairs, out, verb = sys.argv[1:]
layer = torch.nn.LSTM(256, 256, batch_first=True)
hook = torch.nn.modules.module.register_module_forward_pre_hook(before_lstm)
if verb == "train":
    settings = {"train.max_updates": 1, "train.threads": 1}
    calque.train(pairs, valid=pairs, out=out, model="lstm", size="tiny", settings=settings, quiet=True)
else:
    torch.set_num_threads(1)
    calque.load(out)("a 1")
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


@pytest.mark.slow
def test_batches_of_many_shapes_take_little_memory(tmp_path: Path) -> None:
    """Limit the memory of the kernels that oneDNN compiles for each shape, in a training and for a loaded model.

    Without a limit they take about 150 MB.
    """
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"a {number}\tb {number}\n" for number in range(200)))
    environment = {name: value for name, value in os.environ.items() if "PRIMITIVE_CACHE" not in name}
    for verb in ("train", "load"):
        command = [sys.executable, "-c", SHAPES, str(pairs), str(tmp_path / "run"), verb]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) <= 70, verb
