"""Decoding speed: sentences a second of one trained model in calque's engines, Hugging Face and CTranslate2.

Every system takes strings and gives strings; loading and a warm-up come before its clock starts. Batches are counted in
sentences. Batches of one are timed on fewer sentences.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sacrebleu

from benchmarks.speed import measure, peers, work
from benchmarks.speed.data import COMMAND
from benchmarks.speed.machine import Journal
from benchmarks.speed.rounds import Plan, Setting, interleave
from calque.text.pair import TextPair

ADAPTERS = Path(__file__).parent / "adapters"
SETTINGS: tuple[Setting, ...] = tuple(
    {"workers": workers, "threads": threads} for workers, threads in ((2, 1), (1, 2), (1, 1))
)
REFERENCE = "calque eager"
# The form of another model, quicker by its make, that takes part beside the one that all share.
FAST = "fast"


@dataclass(frozen=True)
class Decoder:
    """Say what decodes: adapter, environment, which form of the model it reads, and what its adapter is told."""

    adapter: str
    environment: str
    form: str
    options: tuple[tuple[str, Any], ...] = ()


DECODERS = {
    REFERENCE: Decoder("calque", "calque", "calque", (("engine", "eager"),)),
    "calque fused": Decoder("calque", "calque", "calque", (("engine", "fused"),)),
    "calque compiled": Decoder("calque", "calque", "calque", (("engine", "compiled"),)),
    "calque int8": Decoder("calque", "calque", "calque", (("engine", "int8"),)),
    "calque fast, compiled": Decoder("calque", "calque", FAST, (("engine", "compiled"),)),
    "calque fast, int8": Decoder("calque", "calque", FAST, (("engine", "int8"),)),
    "calque via ctranslate2": Decoder("calque", "calque", "calque", (("engine", "ctranslate2"),)),
    "transformers": Decoder("transformers", "transformers", "huggingface"),
    "ctranslate2 fp32": Decoder("ctranslate2", "ctranslate2", "ctranslate2", (("compute_type", "float32"),)),
    "ctranslate2 int8": Decoder("ctranslate2", "ctranslate2", "ctranslate2", (("compute_type", "int8"),)),
}


@dataclass(frozen=True)
class Mode:
    """Say how wide the search is and how many sentences are decoded at once."""

    beam: int
    batch: int

    @property
    def name(self) -> str:
        """Return the mode in words."""
        return f"{'greedy' if self.beam == 1 else f'beam {self.beam}'}, batch {self.batch}"


MODES = (Mode(1, 64), Mode(5, 64), Mode(1, 1), Mode(5, 1))


@dataclass
class Text:
    """Hold the sentences to decode with their references; `single` of them are taken for batches of one."""

    sources: list[str]
    references: list[str]
    single: int

    def lengths(self, model: Path) -> work.Lengths:
        """Return mean tokens a sentence as the model cuts them."""
        text = TextPair.load(model / "text")
        sides = text.encode_source(self.sources), text.encode_target(self.references)
        return work.Lengths(*(sum(len(tokens) + 1 for tokens in side) / len(side) for side in sides))

    def part(self, mode: Mode) -> tuple[list[str], list[str]]:
        """Return the sentences and references of a mode."""
        count = self.single if mode.batch == 1 else len(self.sources)
        return self.sources[:count], self.references[:count]


@dataclass
class Bench:
    """Run decodings one after the other and write each down."""

    model: Path
    fast: Path | None
    text: Text
    peers: Path
    scratch: Path
    journal: Journal

    def __post_init__(self) -> None:
        self.lengths, self.shape = self.text.lengths(self.model), read_shape(self.model)

    def run(self, names: Sequence[str], modes: Sequence[Mode], plan: Plan) -> None:
        """Measure the named systems in every mode; one that cannot decode is reported, not left out."""
        ready = [name for name in names if self._is_ready(name)]
        for mode in modes:
            found: dict[str, list[str]] = {}

            def measured(
                name: str, setting: Setting, number: int, mode: Mode = mode, found: Any = found
            ) -> float | None:
                return self.once(name, setting, number, mode, found)

            interleave(dict.fromkeys(ready, SETTINGS), plan, measured)

    def once(self, name: str, setting: Setting, number: int, mode: Mode, found: dict[str, list[str]]) -> float | None:
        """Decode once; return sentences a second, or None where it failed. `found` keeps the answers of each system."""
        decoder = DECODERS[name]
        lines, references = self.text.part(mode)
        folder = self.scratch / "decode"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lines.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        job = {**dict(decoder.options), **setting, "beam": mode.beam, "batch": mode.batch}
        job |= {
            "warmup": max(16, 4 * mode.batch),
            "model": str(self._form(decoder.form)),
            "lines": str(folder / "lines.txt"),
        }
        job |= {"answers": str(folder / "answers.txt")}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        python = peers.python_of(self.peers, decoder.environment)
        command = [str(python), str(ADAPTERS / f"decode_{decoder.adapter}.py"), str(folder / "job.json")]
        log = self.scratch / "logs" / f"decode-{name.replace(' ', '-')}.log"
        about = {"kind": "decode", "system": name, "mode": mode.name, "round": number, "setting": dict(setting)}
        try:
            watched = measure.watch(measure.Child(command, measure.environment(setting["threads"]), log))
            rate = len(lines) / watched.said("seconds")[-1]
        except (measure.ChildError, IndexError) as error:
            self.journal.write({**about, "failure": str(error)})
            print(f"{name:24} {mode.name}: failed: {error}", flush=True)
            return None
        found[name] = (folder / "answers.txt").read_text(encoding="utf-8").splitlines()
        record = {**about, "rate": rate, "peak_bytes": watched.peak_bytes, "versions": watched.said("versions")[-1:]}
        if decoder.form != FAST:
            record["operations"] = work.translation(self.lengths, self.shape, mode.beam)
            record["bytes"] = work.weights_read(self.lengths, self.shape, 1 if "int8" in name else 4)
        record["bleu"] = sacrebleu.corpus_bleu(found[name], [references]).score
        if REFERENCE in found and decoder.form != FAST:
            record["equal"] = equal_share(found[name], found[REFERENCE])
        self.journal.write(record)
        print(f"{name:24} {mode.name} round {number} {dict(setting)}: {rate:,.1f} sentences/s", flush=True)
        return rate

    def _is_ready(self, name: str) -> bool:
        decoder = DECODERS[name]
        failure = ""
        if not peers.is_ready(self.peers, decoder.environment):
            failure = "not installed: run the subcommand peers"
        elif decoder.form == FAST and self.fast is None:
            failure = "no model was named with --fast"
        else:
            try:
                self._form(decoder.form)
            except subprocess.CalledProcessError as error:
                said = [line for line in (error.stderr or "").splitlines() if line.strip()]
                failure = f"the model cannot be carried over: {said[-1] if said else error}"
        if failure:
            self.journal.write({"kind": "decode", "system": name, "round": 0, "failure": failure})
            print(f"{name:24} {failure}", flush=True)
        return not failure

    def _form(self, form: str) -> Path:
        """Return the model in a form, made at its first use: calque's own, Hugging Face's or CTranslate2's."""
        if form == "calque":
            return self.model
        if form == FAST:
            assert self.fast is not None
            return self.fast
        folder = self.scratch / "models" / form
        if folder.is_dir():
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [*COMMAND, "export", str(self.model), str(folder), "--to", form]
        subprocess.run(command, check=True, capture_output=True, text=True)
        if form == "ctranslate2":
            shutil.copy(next((self.model / "text").glob("*.model")), folder / "pieces.model")
        return folder


def read_shape(model: Path) -> work.Shape:
    """Return the extent of a Transformer that calque trained."""
    recipe = json.loads((model / "recipe.json").read_text(encoding="utf-8"))
    encoder, decoder = recipe["model"]["encoder"], recipe["model"]["decoder"]
    pieces = TextPair.load(model / "text").target.vocab_size
    return work.Shape(encoder["layers"], decoder["layers"], decoder["width"], decoder["feed_forward"], pieces)


def equal_share(answers: Sequence[str], others: Sequence[str]) -> float:
    """Return the share of lines that are the same."""
    pairs = zip(answers, others, strict=True)
    return sum(answer == other for answer, other in pairs) / max(1, len(answers))


def read_text(path: Path, count: int, single: int) -> Text:
    """Return the first `count` pairs of a file, of which `single` serve for batches of one."""
    pairs = [line.split("\t")[:2] for line in path.read_text(encoding="utf-8").splitlines()[:count]]
    return Text([pair[0] for pair in pairs], [pair[1] for pair in pairs], single)
