"""Time to a score: from the command to a translated test set, trained until the development set reaches a BLEU.

Each system trains on raw Multi30k with the pieces of calque, validates as it is told (greedy, on all development
sentences), stops at the first validation that passes, and translates the test set with beam 5. The clock is that of
this process and holds all of it: training, validation, saving, translation; calque's also holds learning the pieces.
All are told the same size, dropout, highest rate and tokens an update (of which Marian's two workers take half each).
"""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import measure, peers
from benchmarks.speed.data import Data
from benchmarks.speed.machine import Journal
from benchmarks.speed.training import TRAINERS
from calque.metrics.bootstrap import bootstrap
from calque.metrics.translation import bleu

ADAPTERS = Path(__file__).parent / "adapters"
SYSTEMS = ("calque", "transformers", "marian")


@dataclass(frozen=True)
class Goal:
    """Say what is reached and how: `target` BLEU of a validation, one `every` so many updates, `limit` in minutes.

    A schedule of rates that ends does so after `epochs`; `sets` is what `calque train` is told besides.
    """

    target: float
    every: int
    limit: float
    size: str
    layers: tuple[int, int]
    dropout: float
    lr: float
    epochs: int
    batch: int
    pieces: int
    precision: str
    seed: int
    sets: tuple[str, ...]


@dataclass
class Bench:
    """Run systems to a goal one after the other and write each down."""

    goal: Goal
    data: Data
    peers: Path
    work: Path
    journal: Journal

    def run(self, names: list[str]) -> None:
        """Train each system until it is there, or until a validation comes after the limit."""
        for name in names:
            try:
                found = self.once(name)
            except measure.ChildError as error:
                found = {"failure": str(error)}
            setting = TRAINERS[name].settings[0]
            self.journal.write({"kind": "goal", "system": name, "setting": dict(setting), **asdict(self.goal), **found})
            print(f"{name:12} {self.goal.size:6} {outcome(found)}", flush=True)

    def once(self, name: str) -> dict[str, Any]:
        """Return what one system came to; ChildError where it failed."""
        if not peers.is_ready(self.peers, name):
            raise measure.ChildError("not installed: run the subcommand peers")
        folder = self.work / "goal" / name
        watched = self._train(name, folder)
        curve = [(moment, message["update"], message["dev"]) for moment, message in watched.events if "dev" in message]
        found = {"dev": max(dev for _, _, dev in curve), "curve": curve, "peak_bytes": watched.peak_bytes}
        minutes = watched.seconds / 60
        if not (folder / "answers.txt").exists():
            return {**found, "failure": f"not within {minutes:.1f} minutes"}
        answers = (folder / "answers.txt").read_text(encoding="utf-8").splitlines()
        references = self.data.lines("test", "de").read_text(encoding="utf-8").splitlines()
        shutil.rmtree(folder)
        score = bootstrap(bleu("13a"), answers, [[reference] for reference in references])
        return {**found, "minutes": minutes, "bleu": score.value, "interval": (score.low, score.high)}

    def _train(self, name: str, folder: Path) -> measure.Watched:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        setting, data, goal = TRAINERS[name].settings[0], self.data, self.goal
        job = {"architecture": "transformer", "updates": 10**6, "answers": str(folder / "answers.txt")}
        job |= {"data": str(data.folder), "raw": str(data.raw), "work": str(folder)}
        job |= {**setting, **asdict(goal), "pieces": int(data.facts["pieces"])}
        job |= {f"{part}_{side}": str(data.lines(part, side)) for part in ("val", "test") for side in ("en", "de")}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        command = [str(peers.python_of(self.peers, name)), str(ADAPTERS / f"goal_{name}.py"), str(folder / "job.json")]
        log = self.work / "logs" / f"goal-{name}.log"
        child = measure.Child(command, measure.environment(setting["threads"]), log, limit=4 * 60 * goal.limit)
        end = time.monotonic() + 60 * goal.limit

        def is_late(message: dict[str, Any]) -> bool:
            return "dev" in message and message["dev"] < goal.target and time.monotonic() > end

        return measure.watch(child, is_late)


def outcome(found: dict[str, Any]) -> str:
    """Say in a line what a system came to."""
    if "failure" in found:
        return found["failure"] + (f", {found['dev']:.2f} BLEU on the development set" if "dev" in found else "")
    return f"{found['minutes']:.1f} minutes to {found['dev']:.2f} BLEU (dev), {found['bleu']:.2f} (test)"
