"""The memory of `train` does not grow with the data; benchmarks/memory.py measures the same on 10 MB and 1 GB."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "memory.py"


@pytest.mark.slow
def test_four_times_the_text_takes_as_much_memory(tmp_path: Path) -> None:
    """Differ by at most 100 MB of peak anonymous memory, children included.

    The smaller has already all the text that the tokenizers are learned from.
    """
    command = [sys.executable, str(SCRIPT), "--megabytes", "11", "44", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    small, large = report["runs"]
    assert large["megabytes"] > 3 * small["megabytes"]
    assert min(small["peak"], large["peak"]) > 50
    assert report["difference"] <= 100
