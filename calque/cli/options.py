"""The types of the options, so that options of several commands have one help text."""

from enum import StrEnum
from typing import Annotated

import typer

from calque import __version__
from calque.tasks.table import TASKS


def _print_version(shown: bool) -> None:
    if shown:
        typer.echo(f"calque {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Data = Annotated[list[str], typer.Argument(help="A file of pairs, or a source and a target file; - is a pipe.")]
Model = Annotated[str, typer.Argument(help="A model folder, such as runs/pairs.")]

# None takes the model's own beam, or one thread for each core.
Beam = Annotated[
    int | None,
    typer.Option(min=1, max=1_024, help="Hypotheses kept for each line; 1 is greedy; default: the model's own."),
]
Threads = Annotated[int | None, typer.Option(min=1, max=1_024, help="CPU threads; default: one for each core.")]


class Space(StrEnum):
    """Name what an ensemble averages: probabilities, or their logarithms."""

    prob = "prob"
    log = "log"


With = Annotated[list[str] | None, typer.Option("--with", help="Another model folder for an ensemble; repeatable.")]
EnsembleSpace = Annotated[
    Space,
    typer.Option("--ensemble-space", help="Average probabilities (prob) or their logarithms (log) of an ensemble."),
]


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
    EngineName,
    typer.Option("--engine", help="Engine that searches: auto, eager, fused, compiled, int8, bf16 or ctranslate2."),
]

# Options of one command each.
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Valid = Annotated[str | None, typer.Option(help="File of pairs to validate on; default: a tenth of the data.")]
Test = Annotated[str | None, typer.Option(help="File of pairs to score after training.")]
RunFolder = Annotated[str | None, typer.Option(help="Folder of the run; default runs/<file name>.")]
Architecture = Annotated[
    str,
    typer.Option(help="auto, basic-lstm, rnn, lstm, gru, transformer, fast, hybrid, pointer or graph."),
]
SizeName = Annotated[str, typer.Option(help="Size of the model: auto, tiny, small or base.")]
StartFrom = Annotated[str | None, typer.Option("--from", help="A model folder to continue from with other data.")]
Time = Annotated[str | None, typer.Option(help="Stop after this training time, such as 90s, 20m or 1.5h.")]
TaskName = Annotated[str, typer.Option(help=f"{', '.join(TASKS)}, or FILE.py with a task of your own.")]
ComparedTask = Annotated[
    str | None, typer.Option("--task", help=f"{', '.join(TASKS)}, or FILE.py; default: that of the first model.")
]
OwnTask = Annotated[
    str | None, typer.Option("--task", help="FILE.py with the task of your own that the model was trained for.")
]
Languages = Annotated[
    str | None, typer.Option(help="Source and target language, such as en-zh; default: from the file name.")
]
Seed = Annotated[int | None, typer.Option(help="Seed of the weights, the data order and dropout.")]
ConfigFile = Annotated[str | None, typer.Option(help="A TOML file of recipe fields.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set a recipe field: KEY=VALUE, such as train.lr=0.001; repeatable."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check everything, print the recipe and stop; nothing is trained or written."),
]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print every field of the recipe.")]
Texts = Annotated[
    list[str] | None,
    typer.Argument(help="Texts to answer; without them, or with -, lines are read from standard input."),
]
InputFile = Annotated[str | None, typer.Option("--input", "-i", help="File to read, one line for each answer.")]
OutputFile = Annotated[str | None, typer.Option("--output", "-o", help="File to write; default: standard output.")]
NBest = Annotated[int, typer.Option("--n-best", min=1, max=1_024, help="Number of outputs for each line.")]
Scores = Annotated[bool, typer.Option("--scores", help="Write the score before each output.")]
Form = Annotated[OutputForm, typer.Option("--format", help="Form of the output: text, tsv or jsonl.")]
Tag = Annotated[str, typer.Option(help="Tag of every line, for a model trained with tags.")]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Compute in fp32, one line per batch: an answer never depends on other lines."),
]
BatchLines = Annotated[int, typer.Option(min=0, max=65_536, help="Lines in one batch; 0 chooses by length.")]
System = Annotated[str, typer.Argument(help="A model folder, or a file with one line of output for each pair.")]
TrainingData = Annotated[
    str | None, typer.Option("--train", help="The training pairs, for slices of rare and unseen words.")
]
MetricNames = Annotated[
    list[str] | None, typer.Option(help="Metric to compute, such as bleu; repeatable. An unknown name lists all.")
]
TokenizeName = Annotated[str, typer.Option(help="Tokenizer of BLEU; none for text that is already tokenised.")]
FieldName = Annotated[str | None, typer.Argument(help="A section or field, such as train.lr.")]
