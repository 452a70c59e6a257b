"""The input of the compiled Transformer: the structures of `kernels/transformer.h`, and weights in panels.

A panel contains the weights of adjacent outputs, so that a product reads memory in order.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from calque.engines.dense import rounded
from calque.engines.fused import joined, scaled
from calque.nn.attention.multihead import MultiHeadAttention, SelfAttention
from calque.nn.norms import normed
from calque.nn.transformer.encoder_decoder import TransformerDecoder, TransformerEncoder
from calque.nn.transformer.feed_forward import FeedForward, GatedFeedForward, gelu_tanh
from calque.nn.transformer.layers import DecoderLayer, EncoderLayer
from calque.nn.transformer.ssru import Ssru

# Numbers as in the C source.
FUNCTIONS = (None, torch.relu, nn.functional.gelu, gelu_tanh, nn.functional.silu)
NO_NORM, LAYER_NORM, RMS_NORM = range(3)
SELF_ATTENTION, SSRU = range(2)
Pointer, Int, Float = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float
TransformerPart: TypeAlias = TransformerEncoder | TransformerDecoder


class Dense(ctypes.Structure):
    """A dense layer."""

    _fields_ = (("inputs", Int), ("outputs", Int), *((name, Pointer) for name in ("panels", "scales", "sums", "bias")))


class Norm(ctypes.Structure):
    """A norm, or none."""

    _fields_ = (("kind", Int), ("epsilon", Float), ("weight", Pointer), ("bias", Pointer))


class TransformerLayer(ctypes.Structure):
    """A layer of either side; the fields of decoders are empty in an encoder."""

    _fields_ = (
        *((name, Norm) for name in ("own_norm", "memory_norm", "units_norm")),
        *((name, Dense) for name in ("read_own", "write_own", "read_memory", "query", "write_memory")),
        *((name, Dense) for name in ("inner", "gate", "outer")),
    )


class Stack(ctypes.Structure):
    """The layers of a side, with the embedding before and the norm and projection after them."""

    _fields_ = (
        *((name, Int) for name in ("layers", "width", "heads", "groups", "head_width", "units", "function")),
        *((name, Int) for name in ("gated", "norm_before", "mixer")),
        ("embedding_scale", Float),
        ("table", Pointer),
        ("embedding_norm", Norm),
        ("last_norm", Norm),
        ("head", Dense),
        ("layer", Pointer),
    )


class StepCall(ctypes.Structure):
    """The input and the output buffers of one step."""

    _fields_ = (
        *((name, Int) for name in ("rows", "time", "sentences", "places")),
        *((name, Pointer) for name in ("tokens", "born", "position", "turn", "ancestors")),
        *((name, Pointer) for name in ("blocks", "block_rows", "sentence")),
        *((name, Pointer) for name in ("memory", "mask", "log_probs", "room")),
    )


@dataclass(frozen=True)
class Narrow:
    """The largest value of an 8-bit weight, and the largest number of inputs of a layer with such weights."""

    largest: int
    most_inputs: int


class Packing:
    """Weights in panels of `columns`, kept in memory while structures point to them."""

    def __init__(self, columns: int, narrow: Narrow | None) -> None:
        """Copy weights in fp32, or round those of dense layers to 8 bits as `narrow` describes."""
        self.columns, self.narrow = columns, narrow
        self.kept: list[object] = []

    def stack(
        self, side: TransformerPart, layers: Sequence[EncoderLayer | DecoderLayer], head: nn.Linear | None = None
    ) -> Stack:
        """Lay out the layers of one side, and the projection to the vocabulary if there is one."""
        network, mixer = layers[0].feed_forward, mixer_of(layers[0])
        heads = heads_of(layers[0])
        laid = (TransformerLayer * len(layers))(*map(self._layer, layers))
        self.kept.append(laid)
        width = side.embedding.weight.shape[1]
        stack = Stack(len(layers), width, heads.heads, heads.groups, heads.head_width, network.inner.out_features)
        stack.mixer = SSRU if isinstance(mixer, Ssru) else SELF_ATTENTION
        stack.function = FUNCTIONS.index(network.function)
        stack.gated = isinstance(network, GatedFeedForward)
        stack.norm_before = layers[0].before is normed
        stack.embedding_scale = width**0.5 if side.scale_embeddings else 1.0
        stack.table = self.address(side.embedding.weight)
        stack.embedding_norm, stack.last_norm = self._norm(side.embedding_norm), self._norm(side.norm)
        if head is not None:
            stack.head = self._dense(head.weight, head.bias)
        stack.layer = ctypes.addressof(laid)
        return stack

    def address(self, tensor: Tensor) -> int:
        """Return the address of a tensor's values, contiguous, in memory of this object.

        A parameter is copied, since torch may free its memory (`share_memory`, `.to`) while the address is in use.
        """
        owned = tensor.detach().contiguous()
        if owned.data_ptr() == tensor.data_ptr():
            owned = owned.clone()
        self.kept.append(owned)
        return owned.data_ptr()

    def _layer(self, layer: EncoderLayer | DecoderLayer) -> TransformerLayer:
        made = TransformerLayer(units_norm=self._norm(layer.feed_forward_norm))
        made.own_norm = self._norm(layer.attention_norm if isinstance(layer, EncoderLayer) else layer.self_norm)
        mixer = mixer_of(layer)
        if isinstance(mixer, Ssru):
            made.read_own = self._dense(*joined_unit(mixer))
        else:
            made.read_own, made.write_own = self._dense(*joined(mixer)), self._linear(mixer.output)
        if isinstance(layer, DecoderLayer):
            self._add_memory(made, layer.memory_attention, layer.memory_norm)
        network: FeedForward = layer.feed_forward
        made.inner, made.outer = self._linear(network.inner), self._linear(network.outer)
        if isinstance(network, GatedFeedForward):
            made.gate = self._linear(network.gate)
        return made

    def _add_memory(self, made: TransformerLayer, attention: MultiHeadAttention, norm: nn.Module) -> None:
        made.memory_norm = self._norm(norm)
        made.read_memory = self._linear(attention.key_value)
        made.query = self._dense(
            attention.query.weight * attention.scale, scaled(attention.query.bias, attention.scale)
        )
        made.write_memory = self._linear(attention.output)

    def _linear(self, linear: nn.Linear) -> Dense:
        return self._dense(linear.weight, linear.bias)

    def _dense(self, weight: Tensor, bias: Tensor | None) -> Dense:
        """Lay out weights [M, N] and a bias [M], padded with zeros to full panels."""
        outputs, inputs = weight.shape
        missing = -outputs % self.columns
        weight = nn.functional.pad(weight.detach(), (0, 0, 0, missing))
        bias = weight.new_zeros(outputs) if bias is None else bias.detach()
        made = Dense(inputs, outputs, bias=self.address(nn.functional.pad(bias, (0, missing))))
        if self.narrow and inputs <= self.narrow.most_inputs:
            weight, scales = rounded(nn.functional.pad(weight, (0, -inputs % 4)), self.narrow.largest)
            made.scales, made.sums = self.address(scales), self.address(weight.sum(dim=1).float())
            # [M, N] -> [M / columns, N / 4, columns, 4]
            made.panels = self.address(weight.view(len(weight) // self.columns, self.columns, -1, 4).transpose(1, 2))
        else:
            # [M, N] -> [M / columns, N, columns]
            made.panels = self.address(weight.view(-1, self.columns, inputs).transpose(1, 2))
        return made

    def _norm(self, norm: nn.Module) -> Norm:
        if isinstance(norm, nn.Identity):
            return Norm(NO_NORM)
        assert isinstance(norm, nn.LayerNorm | nn.RMSNorm)
        kind, bias = (LAYER_NORM, norm.bias) if isinstance(norm, nn.LayerNorm) else (RMS_NORM, None)
        shift = torch.zeros_like(norm.weight) if bias is None else bias
        return Norm(kind, norm.eps, self.address(norm.weight), self.address(shift))


def mixer_of(layer: EncoderLayer | DecoderLayer) -> SelfAttention | Ssru:
    """Return the mixer of the positions of the layer's own side."""
    own = layer.attention if isinstance(layer, EncoderLayer) else layer.self_attention
    assert isinstance(own, SelfAttention | Ssru)
    return own


def heads_of(layer: EncoderLayer | DecoderLayer) -> MultiHeadAttention:
    """Return an attention of a layer; all attentions have the same number of heads."""
    mixer = mixer_of(layer)
    if isinstance(mixer, SelfAttention):
        return mixer
    assert isinstance(layer, DecoderLayer)
    return layer.memory_attention


def joined_unit(unit: Ssru) -> tuple[Tensor, Tensor]:
    """Return weights and bias that compute forget gate and new value in one product."""
    bias = torch.cat([unit.forget.bias, torch.zeros_like(unit.forget.bias)])
    return torch.cat([unit.forget.weight, unit.value.weight]), bias
