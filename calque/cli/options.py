"""The types of options that several commands share, so that each is worded once."""

from enum import StrEnum
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
Data = Annotated[list[str], typer.Argument(help="A file of pairs, or a source and a target file; - is a pipe.")]
Model = Annotated[str, typer.Argument(help="A model folder, such as runs/pairs.")]


class Space(StrEnum):
    """Name what an ensemble averages: probabilities, or their logarithms."""

    prob = "prob"
    log = "log"


With = Annotated[list[str] | None, typer.Option("--with", help="Another model, for an ensemble; repeatable.")]
EnsembleSpace = Annotated[Space, typer.Option("--ensemble-space", help="What an ensemble averages.")]


class OutputForm(StrEnum):
    """Name the forms that `generate` writes."""

    text = "text"
    tsv = "tsv"
    jsonl = "jsonl"


class EngineName(StrEnum):
    """Name the engines that search."""

    auto = "auto"
    eager = "eager"
    fused = "fused"
    compiled = "compiled"
    int8 = "int8"
    bf16 = "bf16"
    ctranslate2 = "ctranslate2"


Engine = Annotated[
    EngineName, typer.Option("--engine", help="What searches: auto, eager, fused, compiled, int8, bf16, ctranslate2.")
]
