"""Start embeddings from word vectors that were learned elsewhere (Mikolov et al. 2013; Qi et al. 2018).

A row is filled where the tokenizer has a token of that form; the others keep their random start.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from calque.data.files.vectors import VectorFile
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq
from calque.text.pair import TextConfig, TextPair
from calque.text.tokenizers.subword import BLANK
from calque.text.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Wish:
    """Which side starts from which file, and the part whose embedding that is."""

    side: str
    part: str
    file: VectorFile


def open_vectors(text: TextConfig, model: ModelConfig) -> list[Wish]:
    """Look at the files of vectors that a recipe names; UsageError naming both numbers where widths differ."""
    wishes = []
    for side, part, path, width in (
        ("source", "encoder", text.source_vectors, model.encoder.width),
        ("target", "decoder", text.target_vectors, model.decoder.width),
    ):
        if not path:
            continue
        file = VectorFile.open(path)
        if file.width != width:
            raise UsageError(
                f"text.{side}_vectors: {path} has vectors of {file.width} numbers, and model.{part}.width is {width};"
                f" set model.{part}.width = {file.width}, or take other vectors"
            )
        wishes.append(Wish(side, part, file))
    return wishes


def start_from_vectors(
    text: TextPair, config: TextConfig, sections: ModelConfig, model: Seq2Seq, report: Callable[[str], None]
) -> None:
    """Fill the rows of a fresh model's embeddings, and tell how many were found."""
    for wish in open_vectors(config, sections):
        tokenizer: Tokenizer = getattr(text, wish.side)
        part: nn.Module = getattr(model, wish.part)
        rows, count = find_rows(wish.file, tokenizer)
        # What a part multiplies its embeddings by is divided out, so that it reads the vector of the file.
        scale = math.sqrt(wish.file.width) if getattr(part, "scale_embeddings", True) else 1.0
        weight: nn.Parameter = part.embedding.weight  # type: ignore[assignment, union-attr]
        with torch.no_grad():
            for number, vector in rows.items():
                weight[number] = torch.from_numpy(vector / scale)
        report(
            f"{wish.side} vectors: {len(rows):,} of {tokenizer.vocab_size:,} tokens are among the {count:,} of"
            f" {wish.file.file.name}; the others start at random"
        )


def find_rows(file: VectorFile, tokenizer: Tokenizer) -> tuple[dict[int, NDArray[np.float32]], int]:
    """Return vectors by token id, and the number of vectors in the file.

    A word is the token of that form, and the piece that begins a word so; the form itself comes first, and of equal
    words the first.
    """
    rows: dict[int, NDArray[np.float32]] = {}
    exact: set[int] = set()
    count = 0

    def is_wanted(word: str) -> bool:
        return any(number not in (exact if own else rows) for number, own in _places(tokenizer, word))

    for word, vector in file.words(is_wanted):
        count += 1
        for number, own in _places(tokenizer, word) if vector is not None else ():
            if own and number not in exact:
                exact.add(number)
                rows[number] = vector  # type: ignore[assignment]
            elif number not in rows:
                rows[number] = vector  # type: ignore[assignment]
    return rows, count


def _places(tokenizer: Tokenizer, word: str) -> Iterator[tuple[int, bool]]:
    """Yield the tokens that a word of a file may fill, and whether their form is the word itself."""
    for form, own in ((word, True), (BLANK + word, False)):
        number = tokenizer.id_of(form)
        if number is not None:
            yield number, own
