"""The memory of `train` does not grow with the data; benchmarks/memory.py measures the same on 10 MB and 1 GB."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "memory.py"


def test_twenty_times_the_text_takes_as_much_memory(tmp_path: Path) -> None:
    """Differ by at most 100 MB of peak anonymous memory, children included."""
    command = [sys.executable, str(SCRIPT), "--megabytes", "1", "20", "--folder", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    small, large = report["runs"]
    assert large["megabytes"] > 19 * small["megabytes"]
    assert min(small["peak"], large["peak"]) > 50
    assert report["difference"] <= 100
