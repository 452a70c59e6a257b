"""Recurrent encoders and decoders: tanh (Elman 1990), LSTM (Hochreiter & Schmidhuber 1997), GRU (Cho et al. 2014).

The decoder follows Luong et al. 2015: state, attention over the memory, then an attentional vector, which with input
feeding is an input of the next step.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calque.batch import Source
from calque.config import Config, DropoutRate, Layers, Width
from calque.errors import UsageError
from calque.nn.attention.attention import AttentionContext, History, attended_before, remember, repetition
from calque.nn.attention.dot import GeneralAttentionConfig
from calque.nn.attention.kinds import AttentionConfig
from calque.nn.dropout import Dropout
from calque.nn.embedding import Embedding
from calque.nn.parts import Decoder, Encoder, Memory, MemoryShape, Output, fold, stack_outputs
from calque.nn.recurrent.bridge import BRIDGES, BridgeKind
from calque.nn.recurrent.cells import CellKind
from calque.nn.recurrent.layers import RecurrentLayers, SentenceMasks
from calque.nn.typed import Linear


class RecurrentConfig(Config):
    """Base of the configs of encoder and decoder."""

    kind: CellKind = "lstm"
    """The cell: rnn (tanh), lstm or gru."""
    layers: Layers = 1
    """Number of layers."""
    width: Width = 256
    """Width of embeddings, states and output."""
    dropout: DropoutRate = 0.2
    """Dropout on embeddings, between layers and on the output."""
    residual: bool = False
    """Add the input of a layer to its output, from the second layer on (Wu et al. 2016)."""
    layer_norm: bool = False
    """Normalise inside the cell (Ba et al. 2016); this trains position by position, which is slower."""
    variational_dropout: DropoutRate = 0.0
    """Dropout with one mask per sentence (Gal & Ghahramani 2016), on each layer's inputs and hidden states, in addition
    to `dropout`; this trains position by position, which is slower."""

    def stack(self, first: int, *, bidirectional: bool) -> RecurrentLayers:
        """Build the layers for inputs of width `first`."""
        return RecurrentLayers(
            self.kind,
            [first] + [self.width] * self.layers,
            bidirectional,
            self.dropout,
            residual=self.residual,
            layer_norm=self.layer_norm,
            variational_dropout=self.variational_dropout,
        )


class RecurrentEncoderConfig(RecurrentConfig):
    """Read the source with recurrent layers."""

    width: Width = 256
    """Width of embeddings and memory; in a bidirectional layer, each direction has half of it."""
    dropout: DropoutRate = 0.2
    """Dropout on embeddings and between layers."""
    bidirectional: bool = True
    """Read in both directions."""

    def build(self, embedding: Embedding) -> "RecurrentEncoder":
        """Build the encoder."""
        return RecurrentEncoder(self, embedding)


class RecurrentDecoderConfig(RecurrentConfig):
    """Write the target with recurrent layers."""

    attention: AttentionConfig = GeneralAttentionConfig()
    """Attention over the memory."""
    input_feeding: bool = False
    """Use the attentional vector as an input of the next step; this trains step by step, which is slower."""
    bridge: BridgeKind = "dense"
    """First states of the decoder: a dense layer of the encoder's final states (dense) or of the mean of the memory
    (mean), the final states themselves (final), or zeros (zero)."""

    def build(self, embedding: Embedding, shape: MemoryShape) -> "RecurrentDecoder":
        """Build the decoder for memories of `shape`."""
        return RecurrentDecoder(self, embedding, shape)


@dataclass(frozen=True)
class RecurrentState:
    """`parts` (hidden and, in an LSTM, cell), each [R, L, D]; `fed`, the vector of input feeding [R, D]; `history`.

    `masks` are those of variational dropout in training, drawn once per sentence.
    """

    parts: tuple[Tensor, ...]
    fed: Tensor | None
    history: History | None
    masks: tuple[SentenceMasks, ...] | None = None


class RecurrentEncoder(Encoder):
    """Read the source with recurrent layers, in both directions or one."""

    def __init__(self, config: RecurrentEncoderConfig, embedding: Embedding) -> None:
        super().__init__()
        if config.bidirectional and config.width % 2:
            raise UsageError(f"model.encoder.width must be even for two directions, it is {config.width}")
        self.embedding = embedding
        self.dropout = Dropout(config.dropout)
        self.layers = config.stack(config.width, bidirectional=config.bidirectional)
        self.shape = MemoryShape(config.width, config.width, config.layers, config.kind == "lstm")

    def forward(self, source: Source) -> Memory:
        """Encode B sentences."""
        values = self.dropout(self.embedding(source.tokens))
        states, summary = self.layers.read(values, source.mask)
        return Memory(states, source.mask, summary)


class RecurrentDecoder(Decoder):
    """Write the target with recurrent layers and an attention, or none."""

    def __init__(self, config: RecurrentDecoderConfig, embedding: Embedding, shape: MemoryShape) -> None:
        super().__init__()
        self.width = config.width
        self.embedding = embedding
        num_parts = 2 if config.kind == "lstm" else 1
        self.bridge = BRIDGES[config.bridge](shape, config.layers, config.width, num_parts)
        self.attention = config.attention.build(config.width, shape.width)
        if self.attention is None and config.bridge == "zero":
            raise UsageError(
                "model.decoder.bridge is zero and model.decoder.attention is none, so the decoder would see nothing of"
                " the source; set another bridge or an attention"
            )
        self.has_attention = self.attention is not None
        self.combine = Linear(config.width + shape.width, config.width) if self.attention else None
        if config.input_feeding and self.attention is None:
            raise UsageError("model.decoder.input_feeding needs an attention; model.decoder.attention.kind is none")
        self.input_feeding = config.input_feeding
        self.layers = config.stack(config.width * (2 if config.input_feeding else 1), bidirectional=False)
        self.dropout = Dropout(config.dropout)

    def start(self, memory: Memory) -> tuple[AttentionContext | None, RecurrentState]:
        """Return the projected memory and the first state, which the bridge computes."""
        parts = self.bridge(memory)
        masks = self.layers.draw(parts[0])
        if self.attention is None:
            return None, RecurrentState(parts, None, None, masks)
        context = self.attention.start(memory)
        fed = torch.zeros_like(parts[0][:, 0]) if self.input_feeding else None
        return context, RecurrentState(parts, fed, self.attention.first(context), masks)

    def step(
        self, token: Tensor, state: RecurrentState, context: AttentionContext | None
    ) -> tuple[Output, RecurrentState]:
        """Read one token per row."""
        values = self.dropout(self.embedding(token))
        if state.fed is not None:
            values = torch.cat([values, state.fed], dim=-1)
        values, parts = self.layers(values.unsqueeze(1), state.parts, state.masks)
        hidden = values.squeeze(1)
        if context is None:
            return Output(self.dropout(hidden)), RecurrentState(parts, None, None, state.masks)
        output, history = self._attend_step(hidden, state.history, context)
        return output, RecurrentState(parts, output.hidden if self.input_feeding else None, history, state.masks)

    def forward(self, tokens: Tensor, memory: Memory) -> Output:
        """Read tokens [B, T], step by step with input feeding; attention with a history runs step by step too."""
        context, state = self.start(memory)
        if self.input_feeding:
            return self._scan(tokens, state, context)
        values, _ = self.layers(self.dropout(self.embedding(tokens)), state.parts, state.masks)
        if context is None:
            return Output(self.dropout(values))
        assert self.attention is not None
        if self.attention.uses_history:
            return self._scan_attention(values, state, context)
        output = self._attend(values, context)
        if state.history is None:
            return output
        assert output.attention is not None
        again = repetition(output.attention, attended_before(output.attention))
        return replace(output, penalty=self.attention.coverage_loss * again)

    def _attend(self, hidden: Tensor, context: AttentionContext, history: History | None = None) -> Output:
        """Attend from hidden [B, Q, D]; a history has rows [B, Q, S]."""
        assert self.attention is not None
        assert self.combine is not None
        mixed, weights = self.attention(hidden, context, history)
        return Output(self.dropout(torch.tanh(self.combine(torch.cat([mixed, hidden], dim=-1)))), weights)

    def _attend_step(
        self, hidden: Tensor, history: History | None, context: AttentionContext
    ) -> tuple[Output, History | None]:
        """Attend from hidden [R, D] with the history of each row; also return the next history."""
        assert self.attention is not None
        num_sentences = context.mask.shape[0]
        # [B·K, ..] -> [B, K, ..]
        before = history and History(fold(history.total, num_sentences), fold(history.last, num_sentences))
        output = self._attend(fold(hidden, num_sentences), context, before)
        assert output.attention is not None
        hidden, weights = output.hidden.flatten(0, 1), output.attention.flatten(0, 1)
        if history is None:
            return Output(hidden, weights), None
        penalty = self.attention.coverage_loss * repetition(weights, history.total)
        return Output(hidden, weights, penalty), remember(history, weights)

    def _scan(self, tokens: Tensor, state: RecurrentState, context: AttentionContext | None) -> Output:
        outputs = []
        for token in tokens.unbind(dim=1):
            output, state = self.step(token, state, context)
            outputs.append(output)
        return stack_outputs(outputs)

    def _scan_attention(self, values: Tensor, state: RecurrentState, context: AttentionContext) -> Output:
        """Attend from values [B, T, D] position by position."""
        outputs, history = [], state.history
        for hidden in values.unbind(dim=1):
            output, history = self._attend_step(hidden, history, context)
            outputs.append(output)
        return stack_outputs(outputs)
