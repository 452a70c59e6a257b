"""Start embeddings from pretrained word vectors (Mikolov et al. 2013; Qi et al. 2018).

Tokens without a vector keep their random initial weights.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from calque.data.files.vectors import VectorFile
from calque.errors import UsageError
from calque.model import ModelConfig, Seq2Seq
from calque.nn.parts import Decoder, Encoder
from calque.text.pair import TextConfig, TextPair
from calque.text.tokenizers.subword import BLANK
from calque.text.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Wish:
    """A side of the text, the part of the model whose embedding is its table, and the file of its vectors."""

    side: str
    part: str
    file: VectorFile


def open_vectors(text: TextConfig, model: ModelConfig) -> list[Wish]:
    """Open the files of vectors in a recipe; UsageError if their width differs from the model's."""
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
                f"text.{side}_vectors: {path} has vectors of {file.width} numbers, but model.{part}.width is {width};"
                f" set model.{part}.width = {file.width}, or use other vectors"
            )
        wishes.append(Wish(side, part, file))
    return wishes


def start_from_vectors(
    text: TextPair, config: TextConfig, sections: ModelConfig, model: Seq2Seq, report: Callable[[str], None]
) -> None:
    """Set the rows of a new model's embeddings that have a vector, and report their number."""
    for wish in open_vectors(config, sections):
        tokenizer: Tokenizer = getattr(text, wish.side)
        part: Encoder | Decoder = getattr(model, wish.part)
        rows, count = find_rows(wish.file, tokenizer)
        # Divided by the scale of the part's embeddings, so that the part reads the vectors of the file.
        scale = math.sqrt(wish.file.width) if part.scale_embeddings else 1.0
        with torch.no_grad():
            for number, vector in rows.items():
                part.embedding.weight[number] = torch.from_numpy(vector / scale)
        report(
            f"{wish.side} vectors: {len(rows):,} of {tokenizer.vocab_size:,} tokens are among the {count:,} words of"
            f" {wish.file.file.name}; the others start at random"
        )


def find_rows(file: VectorFile, tokenizer: Tokenizer) -> tuple[dict[int, NDArray[np.float32]], int]:
    """Return vectors by token id, and the number of vectors in the file.

    A word belongs to the token of this form, and to the piece of this form that begins a word. A token's own form has
    priority, then the first of equal words.
    """
    rows: dict[int, NDArray[np.float32]] = {}
    exact: set[int] = set()
    count = 0

    def is_wanted(word: str) -> bool:
        return any(number not in (exact if own else rows) for number, own in _places(tokenizer, word))

    for word, vector in file.words(is_wanted):
        count += 1
        if vector is None:
            continue
        for number, own in _places(tokenizer, word):
            if own and number not in exact:
                exact.add(number)
                rows[number] = vector
            elif number not in rows:
                rows[number] = vector
    return rows, count


def _places(tokenizer: Tokenizer, word: str) -> Iterator[tuple[int, bool]]:
    """Yield the ids of the tokens that a word belongs to, and whether their form is the word itself."""
    for form, own in ((word, True), (BLANK + word, False)):
        number = tokenizer.id_of(form)
        if number is not None:
            yield number, own
