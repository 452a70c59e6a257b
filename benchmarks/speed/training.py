"""Training speed: target tokens a second of calque and the peers on the same pieces, and the memory that it takes.

Every update has as many target tokens for all (</s> counted, padding not): a peer that counts otherwise is run once to
see how many it takes, and its batch is changed in proportion. The clock runs between messages of updates, in this
process, so it holds all that a system does between them: data, logging, garbage.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import measure, peers, work
from benchmarks.speed.data import Data
from benchmarks.speed.machine import Journal
from benchmarks.speed.rounds import Plan, Setting, interleave

ADAPTERS = Path(__file__).parent / "adapters"
ONE, TWO, APART = {"workers": 1, "threads": 1}, {"workers": 1, "threads": 2}, {"workers": 2, "threads": 1}
CALIBRATION = 6


@dataclass(frozen=True)
class Trainer:
    """Say what can train what: adapter, environment, settings that are tried, and whether its batches are exact."""

    environment: str
    settings: tuple[Setting, ...] = (TWO, ONE)
    architectures: tuple[str, ...] = ("transformer", "lstm")
    exact: bool = False


TRAINERS = {
    "calque": Trainer("calque", exact=True),
    "joeynmt": Trainer("joeynmt"),
    "opennmt": Trainer("opennmt"),
    "marian": Trainer("marian", (APART, TWO, ONE)),
    "transformers": Trainer("transformers", architectures=("transformer",), exact=True),
}


@dataclass(frozen=True)
class Task:
    """Say what is trained: `tokens` an update, `warmup` updates before the clock starts, `updates` on the clock."""

    architecture: str = "transformer"
    precision: str = "fp32"
    tokens: int = 4096
    warmup: int = 3
    updates: int = 10


@dataclass
class Bench:
    """Run trainings one after the other and write each down."""

    task: Task
    data: Data
    peers: Path
    work: Path
    journal: Journal

    def run(self, names: list[str], plan: Plan) -> None:
        """Measure the named systems; one that is not installed or fails is reported, not left out."""
        systems: dict[str, tuple[Setting, ...]] = {}
        for name in names:
            trainer = TRAINERS[name]
            if self.task.architecture not in trainer.architectures:
                continue
            if peers.is_ready(self.peers, trainer.environment):
                systems[name] = trainer.settings
            else:
                self._fail(name, {}, 0, "not installed: run the subcommand peers")
        interleave(systems, plan, self.once)

    def once(self, name: str, setting: Setting, number: int) -> float | None:
        """Train with one system once; return its rate, or None where it failed."""
        try:
            batch = self._batch(name, setting)
            watched = self._watch(name, setting, batch, self.task.warmup + self.task.updates, number)
            found = rate(watched.events, self.task.warmup)
        except measure.ChildError as error:
            self._fail(name, setting, number, str(error))
            return None
        notes: dict[str, Any] = {key: watched.said(key)[-1] for key in NOTES if watched.said(key)}
        facts = self.data.facts
        lengths = work.Lengths(facts["source"], facts["target"])
        notes["operations"] = work.OPERATIONS[self.task.architecture](lengths, pieces=int(facts["pieces"]))
        record = {**self._about(name, setting, number), **found, "peak_bytes": watched.peak_bytes, **notes}
        self.journal.write(record)
        print(f"{name:12} round {number} {dict(setting)}: {found['rate']:,.0f} target tokens/s", flush=True)
        return found["rate"]

    def _batch(self, name: str, setting: Setting) -> int:
        """Return the size of a batch in the system's own counting that gives `tokens` real target tokens."""
        if TRAINERS[name].exact:
            return self.task.tokens
        path = self.work / "batches.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        key = f"{name} {self.task.architecture} {self.task.tokens} {setting['workers']}"
        if key not in known:
            watched = self._watch(name, setting, self.task.tokens, CALIBRATION, 0)
            tokens = watched.said("tokens")
            known[key] = round(self.task.tokens**2 * len(tokens) / sum(tokens))
            path.write_text(json.dumps(known, indent=1), encoding="utf-8")
        return known[key]

    def _watch(self, name: str, setting: Setting, batch: int, updates: int, number: int) -> measure.Watched:
        folder = self.work / "train" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        job = {"architecture": self.task.architecture, "precision": self.task.precision, "batch": batch, **setting}
        job |= {"updates": updates, "seed": number + 1, "data": str(self.data.folder), "raw": str(self.data.raw)}
        job |= {"pieces": int(self.data.facts["pieces"]), "work": str(folder)}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        python = peers.python_of(self.peers, TRAINERS[name].environment)
        command = [str(python), str(ADAPTERS / f"train_{name}.py"), str(folder / "job.json")]
        log = self.work / "logs" / f"train-{name}-{self.task.architecture}-{number}.log"
        child = measure.Child(command, measure.environment(setting["threads"]), log)
        return measure.watch(child, lambda message: message.get("update", 0) >= updates)

    def _about(self, name: str, setting: Setting, number: int) -> dict[str, Any]:
        task = {"architecture": self.task.architecture, "precision": self.task.precision}
        return {"kind": "train", "system": name, "round": number, "setting": dict(setting), **task}

    def _fail(self, name: str, setting: Setting, number: int, failure: str) -> None:
        self.journal.write({**self._about(name, setting, number), "failure": failure})
        print(f"{name:12} failed: {failure}", flush=True)


NOTES = ("versions", "precision", "parameters", "counts")


def rate(events: list[measure.Event], warmup: int) -> dict[str, float]:
    """Return target tokens a second after `warmup` updates, and the mean tokens of an update.

    Raise ChildError when there are no more updates than that.
    """
    updates = [(moment, message["tokens"]) for moment, message in events if "tokens" in message]
    if len(updates) <= warmup:
        raise measure.ChildError(f"it ended after {len(updates)} updates")
    begin = updates[warmup - 1][0] if warmup else 0.0
    counted = [tokens for _, tokens in updates[warmup:]]
    seconds = updates[-1][0] - begin
    return {"rate": sum(counted) / seconds, "tokens": sum(counted) / len(counted), "first": updates[0][0]}
