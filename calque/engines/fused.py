"""The decoder step of a Transformer in fewer operations, without moving keys and values.

A beam's keys and values stay where they were written. Each of the K hypotheses of a sentence attends to the places of
all K, and a bias hides those that are not its ancestors: this takes a few more products, but no copy of the cache.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.engines.dense import Dense, DenseLayout
from calque.engines.fused_state import FusedMemory, Places
from calque.model import Seq2Seq
from calque.nn.attention.multihead import FIRST_CAPACITY, SelfAttention, hide_padding
from calque.nn.heads.softmax import SoftmaxHead
from calque.nn.norms import normed
from calque.nn.parts import Encoder
from calque.nn.transformer.encoder_decoder import TransformerDecoder
from calque.nn.transformer.feed_forward import FeedForward, GatedFeedForward
from calque.nn.transformer.layers import DecoderLayer
from calque.nn.transformer.mixer import Mixer
from calque.nn.transformer.positions import Turn, rotate

MIXERS: Mapping[str, type[Mixer]] = {"attention": SelfAttention}
Map = Callable[[Tensor], Tensor]


class FusedTransformer:
    """Score the next token of a plain Transformer decoder, equal to the model up to rounding."""

    def __init__(self, model: Seq2Seq, encoder: Encoder, layout: DenseLayout) -> None:
        """Lay out the weights of a model's decoder; `why_not` must return nothing for the model."""
        decoder, head = model.decoder, model.head
        assert isinstance(decoder, TransformerDecoder)
        assert isinstance(head, SoftmaxHead)
        self.encoder, self.decoder = encoder, decoder
        self.layers = [_Layer(layer, layout) for layer in decoder.layers]
        self.norm = _norm(decoder.norm)
        self.project = layout(head.projection.weight, head.projection.bias)

    def start(self, source: Source) -> tuple[FusedMemory, Places]:
        """Encode B sentences, and compute each layer's keys and values."""
        memory = self.encoder(source)
        keys, values = zip(*[layer.read(memory.states) for layer in self.layers], strict=True)
        own = self.layers[0].own
        room = memory.states.new_zeros(len(memory.mask), own.groups, FIRST_CAPACITY, 1, own.head_width)
        empty = Places(tuple(room.clone() for _ in keys), tuple(room.clone() for _ in keys), None, 0)
        return FusedMemory(keys, values, hide_padding(memory.mask, memory.states)), empty

    def step(self, token: Tensor, state: Places, context: FusedMemory) -> tuple[Tensor, Places]:
        """Read one token per row [R]; return log-probabilities [R, V] and the next state."""
        state = state.with_room()
        position = state.positions()
        values = self.decoder.embedding(token, self.decoder.scale_embeddings)
        # [1], or [B, K] -> [R]
        values = self.decoder.embedding_norm(self.decoder.positions.add_to(values, position.flatten()))
        turn = self.decoder.positions.turn(position)
        for number, layer in enumerate(self.layers):
            values = layer.step(values, number, state, turn, context)
        log_probs = self.project(self.norm(values)).log_softmax(dim=-1)
        return log_probs, replace(state, length=state.length + 1)


class _Layer:
    """Lay out the weights of one layer."""

    def __init__(self, layer: DecoderLayer, layout: DenseLayout) -> None:
        own, memory = layer.self_attention, layer.memory_attention
        assert isinstance(own, SelfAttention)
        self.own, self.memory = own, memory
        is_before = layer.before is normed
        self.norms = [_Norms(norm, is_before) for norm in (layer.self_norm, layer.memory_norm, layer.feed_forward_norm)]
        self.read_own = layout(*joined(own))
        self.write_own = layout(own.output.weight, own.output.bias)
        self.read_memory = layout(memory.key_value.weight, memory.key_value.bias)
        self.query = layout(memory.query.weight * memory.scale, scaled(memory.query.bias, memory.scale))
        self.write_memory = layout(memory.output.weight, memory.output.bias)
        self.feed_forward = _feed_forward(layer.feed_forward, layout)

    def read(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Project a memory [B, S, D] to keys and values, each [B, G, S, d]."""
        both = self.read_memory(states.flatten(0, 1)).view(*states.shape[:2], 2, self.memory.groups, -1)
        # A product would copy a view that is not contiguous at every step.
        keys, values = both.permute(2, 0, 3, 1, 4).contiguous().unbind()
        return keys, values

    def step(self, values: Tensor, number: int, state: Places, turn: Turn | None, context: FusedMemory) -> Tensor:
        """Map [R, D] to [R, D], writing to the places of layer `number`; queries and keys are rotated by position."""
        own, memory, last = self.norms
        values = own.after(self._look_back(own.before(values), number, state, turn).add_(values))
        values = memory.after(self._look_over(memory.before(values), number, context).add_(values))
        return last.after(self.feed_forward(last.before(values)).add_(values))

    def _look_back(self, values: Tensor, number: int, state: Places, turn: Turn | None) -> Tensor:
        """Attend to the target so far, [R, D] to [R, D]."""
        keys, stored = state.keys[number], state.values[number]
        num_sentences, groups, capacity, width, head_width = keys.shape
        # [R, (H + 2·G)·d] -> [B, H + 2·G, K, d]
        read = self.read_own(values).view(num_sentences, width, -1, head_width).transpose(1, 2)
        query, key, value = read.split([self.own.heads, groups, groups], dim=1)
        if turn is not None:
            query, key = rotate(query, turn), rotate(key, turn)
        keys[:, :, state.length] = key
        stored[:, :, state.length] = value
        seen = (state.length + 1) * width
        # [B, G, C, K, d] -> [B·G, filled·K, d]
        keys, stored = (part.view(-1, capacity * width, head_width)[:, :seen] for part in (keys, stored))
        hidden = None if state.hidden is None else state.hidden[:, :, : state.length + 1].flatten(2).unsqueeze(1)
        return self.write_own(_attend(query, keys, stored, hidden))

    def _look_over(self, values: Tensor, number: int, context: FusedMemory) -> Tensor:
        """Attend to the memory, [R, D] to [R, D]."""
        keys, stored = context.keys[number], context.values[number]
        # [R, H·d] -> [B, H, K, d]
        query = self.query(values).view(len(keys), -1, self.memory.heads, keys.shape[3]).transpose(1, 2)
        return self.write_memory(_attend(query, keys.flatten(0, 1), stored.flatten(0, 1), context.bias))


class _Norms:
    """Normalise the input of a sublayer, or its output."""

    def __init__(self, norm: nn.Module, is_before: bool) -> None:
        as_is: Map = lambda values: values  # noqa: E731
        self.before, self.after = (_norm(norm), as_is) if is_before else (as_is, _norm(norm))


def why_not(model: Seq2Seq, mixers: Mapping[str, type[Mixer]] = MIXERS) -> str:
    """Return why a model is not supported, naming the field of its recipe, or an empty string if it is.

    `mixers` are the supported mixers of target positions, by kind.
    """
    decoder = model.decoder
    if not isinstance(decoder, TransformerDecoder):
        return "model.decoder.kind is not transformer"
    if not isinstance(model.head, SoftmaxHead):
        return "model.head.kind is not softmax"
    if decoder.positions.biases_attention:
        return "model.decoder.positions add to the scores of attention"
    for layer in decoder.layers:
        assert isinstance(layer, DecoderLayer)
        if not isinstance(layer.self_attention, tuple(mixers.values())):
            return f"model.decoder.mixer.kind is not {' or '.join(mixers)}"
    return ""


def _attend(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """Attend with queries [B, H, K, d] to keys and values [B·G, N, d]: [B·K, H·d]; heads share groups."""
    num_sentences, heads, width, head_width = query.shape
    # [B, H, K, d] -> [B·G, H/G·K, d]: adjacent heads share a group
    folded = query.reshape(len(keys), -1, head_width)
    scores = torch.bmm(folded, keys.transpose(1, 2))
    if bias is not None:
        scores.view(num_sentences, heads, width, -1).add_(bias)
    mixed = torch.bmm(scores.softmax(dim=-1), values).view(num_sentences, heads, width, head_width)
    return mixed.transpose(1, 2).reshape(num_sentences * width, -1)


def joined(attention: SelfAttention) -> tuple[Tensor, Tensor | None]:
    """Return weights and bias that compute scaled queries, keys and values in one product."""
    query, both, scale = attention.query, attention.key_value, attention.scale
    weight = torch.cat([query.weight * scale, both.weight])
    if query.bias is None:
        return weight, None
    return weight, torch.cat([query.bias * scale, both.bias])


def scaled(bias: Tensor | None, scale: float) -> Tensor | None:
    """Return a bias, if there is one, times a scale."""
    return None if bias is None else bias * scale


def _norm(norm: nn.Module) -> Map:
    if type(norm) is nn.LayerNorm:
        return partial(_layer_norm, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return norm


def _layer_norm(shape: tuple[int, ...], weight: Tensor, bias: Tensor, epsilon: float, values: Tensor) -> Tensor:
    return torch.layer_norm(values, shape, weight, bias, epsilon)


def _feed_forward(network: FeedForward, layout: DenseLayout) -> Dense:
    inner, outer = (layout(part.weight, part.bias) for part in (network.inner, network.outer))
    if isinstance(network, GatedFeedForward):
        gate = layout(network.gate.weight, network.gate.bias)
        return lambda values: outer(network.function(inner(values)) * gate(values))
    if network.function is torch.relu:
        return lambda values: outer(inner(values).relu_())
    return lambda values: outer(network.function(inner(values)))
