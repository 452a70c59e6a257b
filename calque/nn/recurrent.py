"""Recurrent encoders and decoders: tanh (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014).

The decoder follows Luong et al. 2015: state, attention over the memory, then an attentional vector, which input
feeding hands to the next step.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from calque.batch import Source
from calque.config import Config
from calque.errors import UsageError
from calque.nn.attention import (
    AttentionConfig,
    AttentionContext,
    GeneralAttentionConfig,
    build_attention,
)
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Decoder, Encoder, Memory, MemoryShape, Output, fold

Cell = Literal["rnn", "lstm", "gru"]


class RecurrentEncoderConfig(Config):
    """Read the source with recurrent layers."""

    kind: Cell = "lstm"
    """The cell: rnn (tanh), lstm or gru."""
    layers: int = 1
    """Number of layers."""
    width: int = 256
    """Width of embeddings and memory; a bidirectional layer gives half of it to each direction."""
    bidirectional: bool = True
    """Read in both directions."""
    dropout: float = 0.2
    """Dropout on embeddings and between layers."""


class RecurrentDecoderConfig(Config):
    """Write the target with recurrent layers."""

    kind: Cell = "lstm"
    """The cell: rnn (tanh), lstm or gru."""
    layers: int = 1
    """Number of layers."""
    width: int = 256
    """Width of embeddings, states and output."""
    dropout: float = 0.2
    """Dropout on embeddings, between layers and on the output."""
    attention: AttentionConfig = GeneralAttentionConfig()
    """How the decoder looks at the memory."""
    input_feeding: bool = False
    """Hand the attentional vector to the next step; trains step by step, so slower."""
    bridge: Literal["dense", "final"] = "dense"
    """From encoder to first state: a dense layer, or the encoder's final states as they are."""


@dataclass(frozen=True)
class RecurrentState:
    """Hold `parts` (hidden and, in an LSTM, cell), each [R, L, D], and the fed vector [R, D] or None."""

    parts: tuple[Tensor, ...]
    fed: Tensor | None


class RecurrentLayers(nn.Module):
    """Stack single layers of one cell with dropout between them, batch first."""

    def __init__(self, cell: Cell, sizes: list[int], bidirectional: bool, dropout: float) -> None:
        super().__init__()
        kinds: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
        directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList(
            kinds[cell](size, width // directions, batch_first=True, bidirectional=bidirectional)
            for size, width in pairwise(sizes)
        )
        self.has_cell = cell == "lstm"
        self.dropout = Dropout(dropout)
        for name, parameter in self.named_parameters():
            _initialise(name, parameter, self.has_cell)

    def forward(self, values: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run values [B, T, D] from states `parts` [B, L, D] each; return outputs and the last states."""
        finals = []
        for index, layer in enumerate(self.layers):
            # [B, D] -> [1, B, D], as the library's layers want it
            first = [part[:, index].unsqueeze(0).contiguous() for part in parts]
            values, last = layer(self.dropout(values) if index else values, tuple(first) if self.has_cell else first[0])
            finals.append(last if self.has_cell else (last,))
        return values, _stack_layers(finals)

    def read(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run padded values [B, S, D] of `lengths` [B] from zero states; padding takes no part.

        Returns outputs [B, S, D] and the last states, each [B, L, D]: forward and backward side by side.
        """
        finals = []
        for index, layer in enumerate(self.layers):
            packed = pack_padded_sequence(
                self.dropout(values) if index else values, lengths, batch_first=True, enforce_sorted=False
            )
            outputs, last = layer(packed)
            values, _ = pad_packed_sequence(outputs, batch_first=True, total_length=values.shape[1])
            # [directions, B, D'] -> [1, B, directions · D']
            states = last if self.has_cell else (last,)
            finals.append(tuple(state.transpose(0, 1).flatten(1).unsqueeze(0) for state in states))
        return values, _stack_layers(finals)


class RecurrentEncoder(Encoder):
    """Read the source with recurrent layers, in both directions or one."""

    def __init__(self, config: RecurrentEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        if config.bidirectional and config.width % 2:
            raise UsageError(f"model.encoder.width must be even to be shared by two directions, it is {config.width}")
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        sizes = [config.width] * (config.layers + 1)
        self.layers = RecurrentLayers(config.kind, sizes, config.bidirectional, config.dropout)
        self.shape = MemoryShape(config.width, config.width, config.layers, config.kind == "lstm")

    def forward(self, source: Source) -> Memory:
        """Encode B sentences."""
        values = self.dropout(self.embedding(source.tokens))
        states, summary = self.layers.read(values, source.mask.sum(dim=1).cpu())
        return Memory(states, source.mask, summary)


class RecurrentDecoder(Decoder):
    """Write the target with recurrent layers and an attention, or none."""

    def __init__(self, config: RecurrentDecoderConfig, embedding: Embedding, shape: MemoryShape) -> None:
        super().__init__()
        self.width = config.width
        self.embedding = embedding
        self.bridge = Bridge(config, shape)
        self.attention = build_attention(config.attention, config.width, shape.width)
        self.combine = nn.Linear(config.width + shape.width, config.width) if self.attention else None
        if config.input_feeding and self.attention is None:
            raise UsageError("model.decoder.input_feeding needs an attention; model.decoder.attention.kind is none")
        self.input_feeding = config.input_feeding
        first = config.width * (2 if config.input_feeding else 1)
        self.layers = RecurrentLayers(config.kind, [first] + [config.width] * config.layers, False, config.dropout)
        self.dropout = Dropout(config.dropout)

    def start(self, memory: Memory) -> tuple[AttentionContext | None, RecurrentState]:
        """Project the memory's keys and bridge its summary."""
        context = self.attention.start(memory) if self.attention else None
        parts = self.bridge(memory.summary)
        return context, RecurrentState(parts, torch.zeros_like(parts[0][:, 0]) if self.input_feeding else None)

    def step(
        self, token: Tensor, state: RecurrentState, context: AttentionContext | None
    ) -> tuple[Output, RecurrentState]:
        """Read one token a row."""
        values = self.dropout(self.embedding(token))
        if state.fed is not None:
            values = torch.cat([values, state.fed], dim=-1)
        values, parts = self.layers(values.unsqueeze(1), state.parts)
        hidden = values.squeeze(1)
        if context is None:
            return Output(self.dropout(hidden)), RecurrentState(parts, None)
        output = self._attend(fold(hidden, context.mask.shape[0]), context)
        assert output.attention is not None
        hidden = output.hidden.flatten(0, 1)
        fed = hidden if self.input_feeding else None
        return Output(hidden, output.attention.flatten(0, 1)), RecurrentState(parts, fed)

    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read tokens [B, T]; only input feeding must go step by step."""
        context, state = self.start(memory)
        if self.input_feeding:
            return self._scan(tokens, state, context)
        values, _ = self.layers(self.dropout(self.embedding(tokens)), state.parts)
        return Output(self.dropout(values)) if context is None else self._attend(values, context)

    def _attend(self, hidden: Tensor, context: AttentionContext) -> Output:
        assert self.attention is not None
        assert self.combine is not None
        mixed, weights = self.attention(hidden, context)
        return Output(self.dropout(torch.tanh(self.combine(torch.cat([mixed, hidden], dim=-1)))), weights)

    def _scan(self, tokens: Tensor, state: RecurrentState, context: AttentionContext | None) -> Output:
        outputs = []
        for token in tokens.unbind(dim=1):
            output, state = self.step(token, state, context)
            outputs.append(output)
        attention = [output.attention for output in outputs if output.attention is not None]
        return Output(torch.stack([output.hidden for output in outputs], dim=1), torch.stack(attention, dim=1))


class Bridge(nn.Module):
    """Turn an encoder's summary into a decoder's first states, each [B, L, D]."""

    def __init__(self, config: RecurrentDecoderConfig, shape: MemoryShape) -> None:
        super().__init__()
        self.num_layers, self.width = config.layers, config.width
        self.num_parts = 2 if config.kind == "lstm" else 1
        if config.bridge == "final":
            have = (shape.num_layers, shape.summary_width, 2 if shape.has_cell else 1)
            want = (config.layers, config.width, self.num_parts)
            if have != want:
                raise UsageError(
                    f"model.decoder.bridge: final hands states over as they are, but the encoder has (layers, width,"
                    f" parts) {have} and the decoder wants {want}; make them equal or set bridge = dense"
                )
        size = config.width * config.layers
        self.dense = nn.ModuleList(
            nn.Linear(shape.summary_width, size) for _ in range(self.num_parts if config.bridge == "dense" else 0)
        )

    def forward(self, summary: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return hidden and, for an LSTM, cell; a dense bridge reads the encoder's top layer."""
        if not self.dense:
            return summary
        top = [summary[min(part, len(summary) - 1)][:, -1] for part in range(self.num_parts)]
        return tuple(
            torch.tanh(dense(part)).unflatten(-1, (self.num_layers, self.width))
            for dense, part in zip(self.dense, top, strict=True)
        )


def _stack_layers(finals: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    # A list over layers of parts [1, B, D] -> for each part [B, L, D]
    return tuple(torch.cat(part).transpose(0, 1) for part in zip(*finals, strict=True))


def _initialise(name: str, parameter: Tensor, has_cell: bool) -> None:
    if "weight_hh" in name:
        for gate in parameter.data.split(parameter.shape[1]):
            nn.init.orthogonal_(gate)
    elif "weight" in name:
        nn.init.xavier_uniform_(parameter)
    else:
        nn.init.zeros_(parameter)
        if has_cell and "bias_ih" in name:
            # An open forget gate lets gradients through from the first update (Jozefowicz et al. 2015).
            width = parameter.shape[0] // 4
            nn.init.ones_(parameter.data[width : 2 * width])
