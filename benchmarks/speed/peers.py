"""Make an environment for each peer, outside the repository; what will not install is reported with its last line.

One copy of torch serves all: a .pth file puts it after the packages of a peer's own.
"""

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.machine import Journal

TORCH = "torch==2.13.0"
SHARED = "torch"


@dataclass(frozen=True)
class Peer:
    """Say how a peer is installed: steps of pip's arguments, whether it needs torch, and what proves that it runs."""

    name: str
    steps: tuple[tuple[str, ...], ...]
    needs_torch: bool
    proof: str


PEERS = (
    Peer(SHARED, ((TORCH, "numpy"),), False, "import torch"),
    Peer("joeynmt", (("joeynmt==2.3.0", "importlib_metadata"),), True, "import joeynmt.training"),
    Peer(
        "opennmt",
        (
            ("--no-deps", "OpenNMT-py==3.5.1"),
            # What importing its trainer asks for, whether a training needs it or not.
            ("configargparse", "ctranslate2", "pyyaml", "six", "sacrebleu", "tensorboard", "rapidfuzz", "pyonmttok"),
            ("spacy", "pyahocorasick", "fasttext-wheel", "regex"),
        ),
        True,
        "import onmt.bin.train",
    ),
    Peer("marian", (("pymarian==1.12.31", "pyyaml", "sacrebleu"),), False, "import pymarian"),
    Peer("transformers", (("transformers", "sentencepiece", "protobuf", "sacrebleu"),), True, "import transformers"),
    Peer("ctranslate2", (("ctranslate2>=4.8,<5", "sentencepiece", "transformers"),), True, "import ctranslate2"),
)


def python_of(folder: Path, name: str) -> Path:
    """Return the interpreter of a peer's environment; calque's is the one that runs the benchmark."""
    return Path(sys.executable) if name == "calque" else folder / name / "bin" / "python"


def is_ready(folder: Path, name: str) -> bool:
    """Return whether an environment was made and proved."""
    return name == "calque" or (folder / name / "proved").exists()


def make(folder: Path, names: list[str], journal: Journal, tell: Callable[[str], None] = print) -> None:
    """Make the environments of the named peers (all when none is named), torch's first."""
    known = [peer.name for peer in PEERS]
    wrong = [name for name in names if name not in known]
    if wrong:
        raise SystemExit(f"no peer {', '.join(wrong)}; there are {', '.join(known)}")
    for peer in PEERS:
        wanted = peer.name in (names or known) or peer.name == SHARED
        if not wanted or is_ready(folder, peer.name):
            continue
        failure = _install(folder, peer)
        journal.write({"kind": "peer", "system": peer.name, "failure": failure})
        tell(f"{peer.name}: {failure or 'ready'}")


def _install(folder: Path, peer: Peer) -> str:
    """Install a peer and try it; return the last line of what went wrong, or nothing."""
    place = folder / peer.name
    venv.create(place, with_pip=True, clear=True)
    python = str(python_of(folder, peer.name))
    if peer.needs_torch:
        (_packages(place) / "shared.pth").write_text(f"{_packages(folder / SHARED)}\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for command in [*[[*pip, *step] for step in peer.steps], [python, "-c", peer.proof]]:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode:
            said = [line for line in (found.stderr or found.stdout).splitlines() if line.strip()]
            return said[-1].strip() if said else f"exit code {found.returncode}"
    (place / "proved").touch()
    return ""


def _packages(place: Path) -> Path:
    return next((place / "lib").glob("python*")) / "site-packages"
