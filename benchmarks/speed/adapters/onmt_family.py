"""What OpenNMT-py and its successor eole share: the same options, and a log of the same form."""

import re
from pathlib import Path
from typing import Any

from common import Job, lines_of, say

# "Step 3/10; …; bsz: 3486/3250/92; …": source and target tokens of the update, sentences.
UPDATE = re.compile(r"Step\s+(\d+)/.*bsz:\s*(\d+)/\s*(\d+)/")
NEVER = 1_000_000


def write_vocabulary(job: Job) -> Path:
    """Write the pieces one a line, after the specials that the library adds by itself."""
    pieces = (Path(job["data"]) / "pieces.txt").read_text(encoding="utf-8").splitlines()
    specials = ["<unk>", "<blank>", "<s>", "</s>"]
    path = Path(job["work"]) / "vocabulary.txt"
    names = [*specials, *(piece for piece in pieces if piece not in specials)]
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def corpora(job: Job) -> dict[str, Any]:
    """Return where the pieces lie."""
    data = Path(job["data"])
    return {
        "train": {
            "path_src": str(data / "train.en"),
            "path_tgt": str(data / "train.de"),
            "transforms": [],
            "weight": 1,
        },
    }


def follow(command: list[str]) -> None:
    """Run a training and tell each update that its log reports."""
    for line in lines_of(command):
        found = UPDATE.search(line)
        if found:
            say(update=int(found[1]), tokens=int(found[3]))
