"""The choice of the engine: the fastest that gives the answers of the model, unless one is named."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from calque.engines import fused
from calque.engines.compiled import transformer as compiled
from calque.engines.compiled.compiler import notice
from calque.engines.compiled.search import Compiled
from calque.engines.compiled.transformer import CompiledTransformer
from calque.engines.ctranslate2.engine import Setting
from calque.engines.ctranslate2.folder import Place, open_engine
from calque.engines.ctranslate2.spec import can_take
from calque.engines.dense import DenseLayout, bf16, has_bf16, int8, laid_out, transposed
from calque.engines.eager import Eager
from calque.engines.engine import Engine
from calque.engines.following import Following
from calque.engines.fused import FusedTransformer
from calque.errors import ResourceError, UsageError, did_you_mean
from calque.model import ModelConfig, Seq2Seq

CTRANSLATE2 = "ctranslate2"


@dataclass(frozen=True)
class Opened:
    """A model with its section of the recipe and its folder."""

    model: Seq2Seq
    config: ModelConfig
    folder: Path

    @property
    def on_cpu(self) -> bool:
        """Return whether the model is in the memory of the CPU."""
        return next(self.model.parameters()).device.type == "cpu"


def check_engine(name: str) -> None:
    """Raise UsageError for an unknown name of an engine."""
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}; there are {', '.join(ENGINES)}.{did_you_mean(name, ENGINES)}")


def choose_engine(name: str, opened: Opened) -> tuple[Engine, str]:
    """Return the engine of a checked name and its description; UsageError if it does not support the model."""
    return ENGINES[name](opened)


def _auto(opened: Opened) -> tuple[Engine, str]:
    reason = _not_on_cpu(opened) or compiled.why_not(opened.model)
    return (Eager(opened.model), f"eager: {reason}") if reason else _compiled(opened)


def _eager(opened: Opened) -> tuple[Engine, str]:
    return Eager(opened.model), "eager: the model itself, operation by operation"


def _fused(opened: Opened) -> tuple[Engine, str]:
    _refuse("fused", _not_on_cpu(opened) or fused.why_not(opened.model))
    return Following(opened.model, _make_fused), "fused: the decoder steps of a Transformer in fewer operations"


def _compiled(opened: Opened) -> tuple[Engine, str]:
    model = opened.model
    _refuse("compiled", _not_on_cpu(opened) or compiled.why_not(model))
    try:
        return Following(model, partial(_make_compiled, is_narrow=False)), _noted(
            "compiled: a Transformer's steps in C"
        )
    except ResourceError as error:
        return (Eager(model), f"eager: {error}") if fused.why_not(model) else (_fused(opened)[0], f"fused: {error}")


def _int8(opened: Opened) -> tuple[Engine, str]:
    _refuse("int8", _not_on_cpu(opened))
    model, what = opened.model, "int8: products in 8 bits, so that some answers differ a little from those of the model"
    try:
        if not compiled.why_not(model):
            return Following(model, partial(_make_compiled, is_narrow=True)), _noted(what)
    except ResourceError as error:
        what = f"{what}; not compiled: {error}"
    return Following(model, partial(_make_rounded, layout=int8)), what


def _bf16(opened: Opened) -> tuple[Engine, str]:
    _refuse("bf16", _not_on_cpu(opened))
    what = "bf16: products in 16 bits, so that some answers differ a little from those of the model"
    slow = "" if has_bf16() else "; this processor has no instructions for them, so fp32 is faster"
    return Following(opened.model, partial(_make_rounded, layout=bf16)), what + slow


def _noted(description: str) -> str:
    """Return the description of a compiled engine, with the reason if its library is compiled again at each start."""
    reason = notice(compiled.SOURCE)
    return f"{description}; {reason}" if reason else description


def _make_fused(model: Seq2Seq) -> Engine:
    return Eager(FusedTransformer(model, model.encoder, transposed))


def _make_compiled(model: Seq2Seq, is_narrow: bool) -> Engine:
    return Compiled(CompiledTransformer(model, is_narrow))


def _make_rounded(model: Seq2Seq, layout: DenseLayout) -> Engine:
    """Return the engine with products of rounded numbers, with fused steps if the model supports them."""
    if fused.why_not(model):
        return Eager(laid_out(model, layout))
    return Eager(FusedTransformer(model, laid_out(model.encoder, layout), layout))


def _ctranslate2(opened: Opened) -> tuple[Engine, str]:
    _refuse(CTRANSLATE2, can_take(opened.config) or "")
    # For small products, waiting for a second thread takes longer than it saves.
    setting = Setting(workers=torch.get_num_threads())
    return open_engine(opened.model, opened.config, Place.of(opened.folder), setting), "ctranslate2: its kernels"


def _not_on_cpu(opened: Opened) -> str:
    return "" if opened.on_cpu else "the model is on a GPU"


def _refuse(name: str, reason: str) -> None:
    if reason:
        raise UsageError(f"engine {name} does not support this model: {reason}; eager supports every model")


ENGINES: dict[str, Callable[[Opened], tuple[Engine, str]]] = {
    "auto": _auto,
    "eager": _eager,
    "fused": _fused,
    "compiled": _compiled,
    "int8": _int8,
    "bf16": _bf16,
    CTRANSLATE2: _ctranslate2,
}
