"""A model as two ONNX graphs, traced by torch.export: the encoder, and a step of the decoder.

The free axes are found by comparing two calls of different sizes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.exchange.onnx.examples import Call, Sizes, random_call
from calque.exchange.onnx.library import quiet
from calque.exchange.onnx.parts import exportable
from calque.exchange.onnx.records import growing, named, refilled
from calque.model import Seq2Seq

ENCODER, STEP = "encoder.onnx", "decoder_step.onnx"
OPSET = 18
# The sizes of two calls: each kind of axis grows by a different number from the first to the second.
FIRST = Sizes(batch=2, beam=2, length=12, forms=3, edges=9, time=6)
SECOND = Sizes(batch=3, beam=3, length=16, forms=9, edges=16, time=8)
AXES = {
    SECOND.batch - FIRST.batch: "batch",
    SECOND.time - FIRST.time: "time",
    SECOND.length - FIRST.length: "source_length",
    SECOND.batch * SECOND.beam - FIRST.batch * FIRST.beam: "rows",
    SECOND.forms - FIRST.forms: "forms",
    SECOND.edges - FIRST.edges: "edges",
}
Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Port:
    """An input of a graph: its type, and its axes, each a number if its size is fixed, else a name."""

    type: str
    shape: Shape


Ports = dict[str, Port]


@dataclass(frozen=True)
class Graphs:
    """Inputs of encoder and step; the outputs are `context` and `state` of the step, and the state's names with
    `next_` in front.
    """

    source: Ports
    state: Ports
    context: Ports


class EncoderProgram(nn.Module):
    """Return context and first state of a source, all as tensors in the order of their names."""

    def __init__(self, model: Seq2Seq, fields: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.fields = model, fields

    def forward(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Encode B sentences."""
        context, state = self.model.start(Source(**dict(zip(self.fields, tensors, strict=True))))
        return _apart([*named(context, "context").values(), *named(growing(state), "state").values()])


class StepProgram(nn.Module):
    """Return log-probabilities [R, V + X] and the next state, all as tensors in the order of their names."""

    def __init__(self, model: Seq2Seq, state: Any, context: Any) -> None:
        super().__init__()
        self.model, self.state, self.context = model, state, context

    def forward(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Read one token per row, the first of the tensors, before state and context."""
        token, *others = tensors
        parts = iter(others)
        state, context = refilled(self.state, parts), refilled(self.context, parts)
        log_probs, after = self.model.step(token, state, context)
        return _apart([log_probs, *named(after, "state").values()])


def write_graphs(model: Seq2Seq, folder: Path) -> Graphs:
    """Write both graphs to a folder; return their inputs and outputs."""
    generator = torch.Generator().manual_seed(0)
    first, second = (random_call(model, sizes, generator) for sizes in (FIRST, SECOND))
    source, state, context = (_ports(first, second, part) for part in ("source", "state", "context"))
    given, made = Graphs(source, state, context), exportable(model)
    tensors = named(first.source, "source")
    _write(
        EncoderProgram(made, tuple(source)),
        dict(zip(source, tensors.values(), strict=True)),
        source,
        [*context, *state],
        folder / ENCODER,
    )
    _write(
        StepProgram(made, first.state, first.context),
        {"token": first.token, **named(first.state, "state"), **named(first.context, "context")},
        {"token": Port("int64", ("rows",)), **state, **context},
        ["log_probs", *(f"next_{name}" for name in state)],
        folder / STEP,
    )
    return given


def _ports(first: Call, second: Call, part: str) -> Ports:
    """Describe the tensors of a part of two calls."""
    one, two = (named(getattr(call, part), part) for call in (first, second))
    assert one.keys() == two.keys()
    # A source is not part of another record.
    return {name.removeprefix("source."): _port(one[name], two[name]) for name in one}


def _port(first: Tensor, second: Tensor) -> Port:
    shape = (one if one == two else AXES[two - one] for one, two in zip(first.shape, second.shape, strict=True))
    return Port(str(first.dtype).removeprefix("torch."), tuple(shape))


def _apart(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    # A tensor may occur twice in a record, or be an input and an output; the outputs of a graph must be different.
    return tuple(tensor.clone() for tensor in tensors)


def _write(program: nn.Module, inputs: dict[str, Tensor], ports: Ports, outputs: list[str], path: Path) -> None:
    """Trace a program of one tuple of tensors, with their names, and write the graph."""
    free = tuple(
        {axis: extent for axis, extent in enumerate(port.shape) if isinstance(extent, str)} for port in ports.values()
    )
    # Contiguous copies: the strides of a view would be traced too.
    tensors = tuple(tensor.contiguous() for tensor in inputs.values())
    with torch.no_grad(), quiet():
        torch.onnx.export(
            program.eval(),
            (tensors,),
            path,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(free,),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
