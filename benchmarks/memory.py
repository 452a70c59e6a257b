"""Measure whether the memory of `calque train` grows with the data: peak anonymous memory on a small and a large file.

    python benchmarks/memory.py                    # 10 MB and 1 GB of text, which it writes itself
    python benchmarks/memory.py --megabytes 1 20   # quicker

Anonymous memory (RssAnon of the process and its children, sampled 20 times a second) leaves out mapped files, which the
kernel takes back when it needs the room.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

INTERVAL = 0.05
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re", "si", "to", "vu", "za")
LINES_IN_BLOCK = 20_000
# The same model at both sizes: left to themselves, more data get more pieces, and scores of more pieces take room.
SETTINGS = (
    "text.vocab_size=8000",
    "train.batch_tokens=4096",
    "train.max_updates=3",
    "train.validate_every=3",
    "train.save_every=3",
    "train.validation_sentences=20",
    "train.precision=fp32",
    "search.beam=1",
)


def block(seed: int) -> list[tuple[str, str]]:
    """Return pairs of sentences of made-up words, the target's in the opposite order."""
    draw = random.Random(seed)
    words = ["".join(draw.choices(SYLLABLES, k=draw.randint(1, 3))) for _ in range(4_000)]
    sentences = [draw.choices(words, k=draw.randint(3, 14)) for _ in range(LINES_IN_BLOCK)]
    return [(" ".join(words), " ".join(reversed(words))) for words in sentences]


def lines() -> Iterator[str]:
    """Yield pairs without end: one block again and again, each line with the number of its round."""
    pairs = block(1)
    round_number = 0
    while True:
        for number, (source, target) in enumerate(pairs):
            mark = f"{(round_number * 7 + number) % 9973}"
            yield f"{source} {mark}\t{mark} {target}\n"
        round_number += 1


def write_text(path: Path, megabytes: float) -> None:
    """Write about so many million bytes of pairs."""
    left = megabytes * 1e6
    with path.open("w", encoding="utf-8") as file:
        for line in lines():
            file.write(line)
            left -= len(line)
            if left <= 0:
                return


def anonymous_bytes(process: int) -> int:
    """Return the anonymous memory of a process and of all its children; 0 for one that has gone."""
    total, waiting = 0, [process]
    while waiting:
        folder = Path(f"/proc/{waiting.pop()}")
        try:
            status = (folder / "status").read_text()
            waiting += [
                int(child) for task in (folder / "task").iterdir() for child in (task / "children").read_text().split()
            ]
        except (OSError, ValueError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:"))
    return total


def measure(data: Path, folder: Path) -> dict[str, float]:
    """Train on a file for three updates; return its size, the peak of memory and the seconds taken."""
    script = "from calque.cli.main import main; main()"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    command = [sys.executable, "-c", script, "train", str(data), "--out", str(folder), "--threads", "1", *settings]
    start, peak = time.monotonic(), 0
    with (folder.parent / f"{folder.name}.log").open("w+") as log:
        with subprocess.Popen([*command, "--model", "gru", "--size", "tiny"], stderr=log, stdout=log) as process:
            while process.poll() is None:
                peak = max(peak, anonymous_bytes(process.pid))
                time.sleep(INTERVAL)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"calque train ended with {process.returncode}:\n{log.read()[-2000:]}")
    return {"megabytes": data.stat().st_size / 1e6, "peak": peak / 1e6, "seconds": time.monotonic() - start}


def main() -> None:
    """Measure both sizes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", nargs=2, type=float, default=(10, 1000), metavar=("SMALL", "LARGE"))
    parser.add_argument("--folder", help="where to write text and runs (a temporary folder is made in it)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for number, megabytes in enumerate(options.megabytes):
            data = Path(folder) / f"text-{number}.tsv"
            write_text(data, megabytes)
            found.append(measure(data, Path(folder) / f"run-{number}"))
            data.unlink()
    difference = found[1]["peak"] - found[0]["peak"]
    if options.json:
        print(json.dumps({"runs": found, "difference": difference}))
        return
    print("| text, MB | peak anonymous memory, MB | seconds |\n|---|---|---|")
    for row in found:
        print(f"| {row['megabytes']:,.0f} | {row['peak']:,.0f} | {row['seconds']:,.0f} |")
    print(f"\ndifference: {difference:+,.0f} MB")


if __name__ == "__main__":
    main()
