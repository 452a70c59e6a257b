"""Parts of a model in a form that ONNX can express: recurrent layers by its operators, several sources without loops.
They compute the same as the parts of calque.nn.
"""

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.errors import UsageError
from calque.exchange.limits import require
from calque.model import ModelConfig, Seq2Seq
from calque.nn.memory_network import MemoryEncoderConfig
from calque.nn.parts import Encoder, Memory
from calque.nn.recurrent.cells import LibraryCell, Parts, unroll
from calque.nn.recurrent.encoder_decoder import RecurrentConfig
from calque.nn.recurrent.layers import RecurrentLayers
from calque.nn.several import SeveralEncoder, SeveralEncoderConfig

LIBRARY = "ONNX"
# By torch's class: ONNX's operator, and the order of torch's gates in it: those of an
# LSTM as input, output, forget, candidate, of a GRU as update, reset, candidate.
OPERATORS: dict[type[nn.RNNBase], tuple[str, tuple[int, ...]]] = {
    nn.LSTM: ("LSTM", (0, 3, 1, 2)),
    nn.GRU: ("GRU", (1, 0, 2)),
    nn.RNN: ("RNN", (0,)),
}


def require_expressible(config: ModelConfig) -> None:
    """Raise UsageError naming a field of the recipe for which ONNX has no operator."""
    encoder = config.encoder
    parts = {"model.encoder": encoder}
    if isinstance(encoder, SeveralEncoderConfig):
        parts = {f"model.encoder.encoders.{number}": part for number, part in enumerate(encoder.encoders)}
    if isinstance(encoder, MemoryEncoderConfig):
        raise UsageError(f"model.encoder.kind is memory: its loops over sentences cannot be written for {LIBRARY}")
    for name, part in parts.items():
        if isinstance(part, RecurrentConfig):
            require(f"{name}.layer_norm", part.layer_norm, (False,), LIBRARY)


def exportable(model: Seq2Seq) -> Seq2Seq:
    """Return a copy of a model for evaluation, with parts that ONNX can express."""
    made = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(made.modules()):
        if isinstance(module, RecurrentLayers):
            _express(module)
    if isinstance(made.encoder, SeveralEncoder):
        made.encoder = PackedSeveral(made.encoder)
    return made


def _express(layers: RecurrentLayers) -> None:
    """Recurrent layers by operators; layers with norms inside are unrolled position by position."""
    if all(isinstance(layer, nn.RNNBase) for layer in layers.layers):
        layers.ways = nn.ModuleList(OperatorLayer(cast(nn.RNNBase, layer)) for layer in layers.layers)  # type: ignore[assignment]


class OperatorLayer(nn.Module):
    """One recurrent layer: ONNX's operator, with the length of each sentence, for a source; the cell for a single
    position of a target.
    """

    inputs: Tensor
    recurrent: Tensor
    biases: Tensor

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.operator, order = OPERATORS[type(layer)]
        self.width, self.directions = layer.hidden_size, 2 if layer.bidirectional else 1
        self.cell = LibraryCell(self.operator.lower(), layer, "")  # type: ignore[arg-type]
        endings = ("_l0", "_l0_reverse")[: self.directions]

        def stacked(name: str) -> Tensor:
            gates = (getattr(layer, name + ending).detach().chunk(len(order)) for ending in endings)
            return torch.stack([torch.cat([each[place] for place in order]) for each in gates])

        # [directions, gates · H, ..]
        self.register_buffer("inputs", stacked("weight_ih"))
        self.register_buffer("recurrent", stacked("weight_hh"))
        self.register_buffer("biases", torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1))

    def run(self, values: Tensor, parts: Parts, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run values [R, 1, D'] from states."""
        return unroll(self.cell, values, parts, keep)

    def read(self, values: Tensor, mask: Tensor, keep: Tensor | None) -> tuple[Tensor, Parts]:
        """Run padded values [B, S, D'] from zero states; outside an export the result is zeros."""
        assert keep is None, "dropout is for training"
        batch, length = values.shape[:2]
        options: dict[str, Any] = {
            "hidden_size": self.width,
            "direction": "bidirectional" if self.directions == 2 else "forward",
            # As in torch's GRU, which resets after the product.
            **({"linear_before_reset": 1} if self.operator == "GRU" else {}),
        }
        last = [self.directions, batch, self.width]
        shapes = [[length, *last], last, last][: 3 if self.operator == "LSTM" else 2]
        outputs, *states = torch.onnx.ops.symbolic_multi_out(
            self.operator,
            # [B, S, D'] -> [S, B, D'], the order of the operator
            (values.transpose(0, 1), self.inputs, self.recurrent, self.biases, mask.sum(dim=1).to(torch.int32)),
            options,
            dtypes=[values.dtype] * len(shapes),
            shapes=shapes,
        )
        # [S, directions, B, H] -> [B, S, directions · H]
        return outputs.permute(2, 0, 1, 3).flatten(2), tuple(state.transpose(0, 1).flatten(1) for state in states)


class PackedSeveral(Encoder):
    """Read the tokens of segment i with encoder i, as `SeveralEncoder`, each segment padded to the whole length."""

    def __init__(self, original: SeveralEncoder) -> None:
        super().__init__()
        self.original, self.shape = original, original.shape

    def forward(self, source: Source) -> Memory:
        """Encode B sources."""
        assert source.segment is not None
        memories: list[Memory] = []
        states: Tensor | float = 0.0
        for number, encoder in enumerate(self.original.encoders):
            inside = source.mask & (source.segment == number)
            # The place of a token in its segment [B, S]; tokens of other segments add 0 to the first place.
            place = (inside.long().cumsum(dim=1) - 1).clamp(min=0)
            tokens = torch.zeros_like(source.tokens).scatter_add(1, place, source.tokens * inside)
            mask = torch.arange(tokens.shape[1], device=tokens.device) < inside.sum(dim=1, keepdim=True)
            memories.append(encoder(Source(tokens, mask)))
            back = memories[-1].states.gather(1, place.unsqueeze(-1).expand_as(memories[-1].states))
            states = states + back * inside.unsqueeze(-1)
        summary = self.original._summary(memories)
        assert isinstance(states, Tensor)
        return Memory(states, source.mask, summary, source.segment)
