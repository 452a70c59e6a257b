"""Time to a score: from the command to a translated test set, trained until the development set reaches a BLEU.

Each system trains on raw Multi30k with the pieces of calque, validates as it is told (greedy, on all development
sentences), stops at the first validation that passes, and translates the test set with beam 5. The clock is that of
this process and holds all of it: preparation, training, validation, saving, translation.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import sacrebleu

from benchmarks.speed import measure, peers
from benchmarks.speed.data import Data
from benchmarks.speed.machine import Journal
from benchmarks.speed.rounds import Setting

ADAPTERS = Path(__file__).parent / "adapters"
SYSTEMS = ("calque", "transformers", "marian")
LIMIT = 6 * 3600.0


def run(names: list[str], data: Data, options: dict[str, Any], place: tuple[Path, Path], journal: Journal) -> None:
    """Train each system until its development score reaches options["target"]; `place`: scratch folder, peers.

    options: target (BLEU), setting (workers, threads), every (updates between validations), and `sets`, what
    `calque train` is told beside its defaults.
    """
    for name in names:
        setting: Setting = options["setting"]
        about: dict[str, Any] = {"kind": "goal", "system": name, "setting": dict(setting), "target": options["target"]}
        try:
            if not peers.is_ready(place[1], name):
                raise measure.ChildError("not installed: run the subcommand peers")
            watched, folder = _train(name, data, options, place)
        except measure.ChildError as error:
            journal.write({**about, "failure": str(error)})
            print(f"{name:12} failed: {error}", flush=True)
            continue
        answers = (folder / "answers.txt").read_text(encoding="utf-8").splitlines()
        references = data.lines("test", "de").read_text(encoding="utf-8").splitlines()
        bleu = sacrebleu.corpus_bleu(answers, [references]).score
        curve = [(moment, message["update"], message["dev"]) for moment, message in watched.events if "dev" in message]
        found = {"minutes": watched.seconds / 60, "dev": curve[-1][2], "bleu": bleu, "curve": curve}
        journal.write({**about, **found, "peak_bytes": watched.peak_bytes})
        print(f"{name:12} {watched.seconds / 60:.1f} minutes to {bleu:.2f} BLEU on the test set", flush=True)
        shutil.rmtree(folder, ignore_errors=True)


def _train(name: str, data: Data, options: dict[str, Any], place: tuple[Path, Path]) -> tuple[measure.Watched, Path]:
    work, environments = place
    folder = work / "goal" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    setting = options["setting"]
    job = {"architecture": "transformer", "precision": options["precision"], "batch": options["tokens"], **setting}
    job |= {"seed": 1, "updates": 10**6, "data": str(data.folder), "raw": str(data.raw), "work": str(folder)}
    job |= {"pieces": int(data.facts["pieces"]), "target": options["target"], "every": options["every"]}
    job |= {"answers": str(folder / "answers.txt"), "sets": options["sets"]}
    job |= {f"{part}_{side}": str(data.lines(part, side)) for part in ("val", "test") for side in ("en", "de")}
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    python = peers.python_of(environments, name)
    command = [str(python), str(ADAPTERS / f"goal_{name}.py"), str(folder / "job.json")]
    log = work / "logs" / f"goal-{name}.log"
    return measure.watch(measure.Child(command, measure.environment(setting["threads"]), log, LIMIT)), folder
