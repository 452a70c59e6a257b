"""The text that all systems train on: Multi30k as calque cuts it, written out piece by piece for the peers.

calque learns the pieces and keeps the pairs that it trains on; the peers read those pieces as words between blanks,
with a vocabulary in the same order, so that every system sees the same tokens.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from calque.data.store.token_store import TokenStore
from calque.text.pair import TextPair

PIECES = 8000
SIDES = ("en", "de")
PARTS = {"train": "train.tsv", "val": "val.tsv", "test": "test_2016_flickr.tsv"}
COMMAND = [sys.executable, "-c", "from calque.cli.main import main; main()"]


@dataclass(frozen=True)
class Data:
    """Hold where the data lie: `folder` of what was prepared, `raw` of the pairs as they came."""

    folder: Path
    raw: Path

    @property
    def facts(self) -> dict[str, float]:
        """Return pairs, pieces, and mean tokens a sentence, </s> included."""
        return json.loads((self.folder / "facts.json").read_text(encoding="utf-8"))

    def lines(self, part: str, side: str) -> Path:
        """Return the file of raw sentences of one side of a part."""
        return self.folder / f"{part}.raw.{side}"


def raw_folder() -> Path:
    """Return the folder of Multi30k, or end with a line that says how to name it."""
    root = Path(os.environ.get("CALQUE_DATA", Path(__file__).parents[3] / "shared" / "data"))
    folder = root / "multi30k-en-de"
    if not (folder / PARTS["train"]).is_file():
        raise SystemExit(f"no {folder / PARTS['train']}: set CALQUE_DATA to the folder that holds multi30k-en-de")
    return folder


def prepare(out: Path, num_pieces: int = PIECES) -> Data:
    """Return the data as so many pieces, prepared in a folder of `out`; made first where they are not there yet."""
    folder = out / ("data" if num_pieces == PIECES else f"data-{num_pieces}")
    data = Data(folder, raw_folder())
    if (folder / "facts.json").is_file():
        return data
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run = folder / "run"
    settings = {"text.vocab_size": num_pieces, "train.max_updates": 1, "train.validation_sentences": 1}
    settings |= {"train.validate_every": 1, "train.save_every": 1, "train.precision": "fp32"}
    command = [*COMMAND, "train", str(data.raw / PARTS["train"]), "--valid", str(data.raw / PARTS["val"])]
    command += ["--out", str(run), "--model", "transformer", "--size", "tiny", "--languages", "en-de", "--quiet"]
    subprocess.run([*command, *flags(settings)], check=True)
    text = TextPair.load(run / "text")
    model = SentencePieceProcessor(model_file=str(next((run / "text").glob("*.model"))))
    pieces = [_word(model.id_to_piece(token), token) for token in range(text.target.vocab_size)]
    assert len(set(pieces)) == len(pieces)
    (folder / "pieces.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    shutil.copytree(run / "text", folder / "text")
    store = TokenStore.open(next((run / "data").glob("*/store.json")).parent)
    _write_pieces(folder, "train", _stored(store, 0), _stored(store, 1), pieces)
    for part, name in PARTS.items():
        pairs = [line.split("\t")[:2] for line in (data.raw / name).read_text(encoding="utf-8").splitlines()]
        for number, side in enumerate(SIDES):
            data.lines(part, side).write_text("".join(f"{pair[number]}\n" for pair in pairs), encoding="utf-8")
        if part != "train":
            sources, targets = zip(*pairs, strict=True)
            _write_pieces(folder, part, text.encode_source(sources), text.encode_target(targets), pieces)
    source, target = len(store.source_side.tokens), len(store.target_side.tokens)
    count = len(store)
    facts = {"pairs": count, "pieces": len(pieces), "source": source / count + 1, "target": target / count + 1}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    shutil.rmtree(run)
    return data


def flags(settings: dict[str, object]) -> list[str]:
    """Return the arguments of the command line that set fields of a recipe."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def _stored(store: TokenStore, side: int) -> list[list[int]]:
    kept = (store.source_side, store.target_side)[side]
    return [kept.tokens[start:end].tolist() for start, end in zip(kept.offsets, kept.offsets[1:], strict=False)]


def _write_pieces(
    folder: Path, part: str, sources: list[list[int]], targets: list[list[int]], pieces: list[str]
) -> None:
    for side, sentences in zip(SIDES, (sources, targets), strict=True):
        text = "".join(" ".join(pieces[token] for token in sentence) + "\n" for sentence in sentences)
        (folder / f"{part}.{side}").write_text(text, encoding="utf-8")


def _word(piece: str, token: int) -> str:
    """Return a piece, or a name for one that a peer would take for a blank or for two words."""
    return piece if piece.split() == [piece] and piece.isprintable() else f"<piece-{token}>"
