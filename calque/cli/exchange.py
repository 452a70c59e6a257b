"""The commands that import models from other libraries and export models to them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from calque.cli.early import require_folder


class Importable(StrEnum):
    """Name what can be imported."""

    huggingface = "huggingface"
    keras = "keras"


class Exportable(StrEnum):
    """Name what can be exported to."""

    huggingface = "huggingface"
    keras = "keras"
    tensorflow = "tensorflow"
    onnx = "onnx"
    ctranslate2 = "ctranslate2"


def import_model(
    form: Annotated[Importable, typer.Argument(metavar="FORMAT", help="huggingface or keras.")],
    origin: Annotated[str, typer.Argument(metavar="FROM", help="A Hugging Face folder; for keras a file of weights.")],
    out: Annotated[str, typer.Argument(help="The new model folder.")],
    languages: Annotated[
        str | None,
        typer.Option(help="huggingface: the languages of a multilingual model, such as en-zh or en_XX-zh_CN."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="keras: the model folder that the weights were exported from.")
    ] = None,
) -> None:
    """Convert a model from Hugging Face or Keras to a model folder."""
    from calque.errors import UsageError

    if form is Importable.keras:
        if languages is not None:
            raise UsageError(
                "--languages belongs to import huggingface; for keras the languages are those of the model of --like"
            )
        if like is None:
            raise UsageError("import keras needs --like MODEL: the model folder that the weights were exported from")
        require_folder(like)
        from calque.exchange.keras.files import import_keras

        for line in import_keras(Path(origin), Path(like), Path(out)):
            typer.echo(line, err=True)
    else:
        if like is not None:
            raise UsageError("--like belongs to import keras; a Hugging Face folder describes its own model")
        if not Path(origin).is_dir():
            raise UsageError(f"no folder {origin!r}. Download the model first: calque does not use the network.")
        from calque.exchange.huggingface.folders import import_huggingface
        from calque.tasks.kinds import language_pair

        pair = language_pair(languages) if languages is not None else None
        import_huggingface(Path(origin), Path(out), pair, lambda line: typer.echo(line, err=True))
    typer.echo(f"the model is in {out}. Next: calque generate {out} TEXT", err=True)


def export_model(
    model: Annotated[str, typer.Argument(help="A model folder, such as runs/pairs.")],
    out: Annotated[str, typer.Argument(help="The new folder.")],
    form: Annotated[Exportable, typer.Option("--to", help="huggingface, keras, tensorflow, onnx or ctranslate2.")],
) -> None:
    """Write a model for Hugging Face, Keras, TensorFlow, ONNX or CTranslate2."""
    require_folder(model)
    if form is Exportable.huggingface:
        from calque.exchange.huggingface.folders import export_huggingface

        what = export_huggingface(Path(model), Path(out))
    elif form is Exportable.keras:
        from calque.exchange.keras.files import export_keras

        export_keras(Path(model), Path(out))
        what = "weights.npz and model.py"
    elif form is Exportable.onnx:
        from calque.exchange.onnx.files import export_onnx

        export_onnx(Path(model), Path(out))
        what = "encoder.onnx and decoder_step.onnx"
    elif form is Exportable.ctranslate2:
        from calque.exchange.ctranslate2.files import export_ctranslate2

        export_ctranslate2(Path(model), Path(out))
        what = "model.bin"
    else:
        from calque.exchange.tensorflow.files import export_tensorflow

        export_tensorflow(Path(model), Path(out))
        what = "SavedModel"
    typer.echo(f"wrote {out} ({what}); {out}/README.md explains how to load it", err=True)
