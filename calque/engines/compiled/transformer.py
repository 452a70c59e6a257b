"""The Transformer compiled from C: a step is one call, moves nothing, and reads weights in memory order.

The queries, keys and values of each step stay where they were written; a hypothesis stores its row of each step, so
that reordering a beam copies only a few numbers.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from calque.batch import Source
from calque.engines import fused
from calque.engines.compiled.compiler import compiled
from calque.engines.compiled.layout import SSRU, Int, Narrow, Packing, Pointer, StepCall
from calque.model import Seq2Seq
from calque.nn.attention.multihead import SelfAttention
from calque.nn.heads.softmax import SoftmaxHead
from calque.nn.parts import Encoder
from calque.nn.transformer.encoder_decoder import TransformerDecoder, TransformerEncoder
from calque.nn.transformer.mixer import Mixer
from calque.nn.transformer.positions import Positions
from calque.nn.transformer.ssru import Ssru
from calque.rows import join, select

MIXERS: Mapping[str, type[Mixer]] = {"attention": SelfAttention, "ssru": Ssru}
SOURCE = Path(__file__).parent / "kernels" / "transformer.c"


@dataclass(frozen=True)
class CompiledMemory:
    """Each layer's keys and values of the memory [L, B, S, 2·G·d], and the mask of its places [B, S].

    Rows are never removed: the state refers to its sentences by number.
    """

    memory: Tensor
    mask: Tensor

    def select_rows(self, index: Tensor) -> "CompiledMemory":
        """Return the whole memory."""
        return self

    def join_rows(self, others: Sequence["CompiledMemory"]) -> "CompiledMemory":
        """Return the sentences of all, with places padded to the longest."""
        all_of_them = (self, *others)
        longest = max(each.mask.shape[1] for each in all_of_them)
        padded = [nn.functional.pad(each.memory, (0, 0, 0, longest - each.mask.shape[1])) for each in all_of_them]
        return CompiledMemory(torch.cat(padded, dim=1), join([each.mask for each in all_of_them]))


@dataclass(frozen=True)
class CompiledState:
    """The blocks of all steps: [L, R of the step, (H + 2·G)·d], or cells of SSRUs [L, R of the step, D].

    For each row: `ancestors` [R, T], its row at each step; `sentence` [R], its sentence among the memory's
    `num_sentences`; and `born` [R], the step at which it began, None if all began at step 0.
    """

    blocks: tuple[Tensor, ...]
    ancestors: Tensor
    sentence: Tensor
    num_sentences: int
    born: Tensor | None
    scratch: "Scratch"

    def select_rows(self, index: Tensor) -> "CompiledState":
        """Take rows by number."""
        ancestors, sentence, born = select((self.ancestors, self.sentence, self.born), index)
        return replace(self, ancestors=ancestors, sentence=sentence, born=born)

    def join_rows(self, others: Sequence["CompiledState"]) -> "CompiledState":
        """Return the rows of all states, aligned at their last steps; steps before the first birth are dropped."""
        states = (self, *others)
        time = max(state.ancestors.shape[1] for state in states)
        late = [time - state.ancestors.shape[1] for state in states]
        births = [state.births() + shift for state, shift in zip(states, late, strict=True)]
        start = int(torch.cat(births).min())
        blocks, columns = [], []
        for then in range(start, time):
            there = [then >= shift for shift in late]
            parts = [state.blocks[then - shift] for state, shift in zip(states, late, strict=True) if then >= shift]
            blocks.append(torch.cat(parts, dim=1))
            offset, column = 0, []
            for state, shift, has_step in zip(states, late, there, strict=True):
                # Before its birth a row has no ancestor; the value is never read.
                column.append(
                    state.ancestors[:, then - shift] + offset if has_step else torch.zeros_like(state.sentence)
                )
                offset += state.blocks[then - shift].shape[1] if has_step else 0
            columns.append(torch.cat(column))
        sentences, count = [], 0
        for state in states:
            sentences.append(state.sentence + count)
            count += state.num_sentences
        born = torch.cat(births) - start
        ancestors = torch.stack(columns, dim=1) if columns else born.new_empty(len(born), 0)
        return CompiledState(tuple(blocks), ancestors, torch.cat(sentences), count, born, self.scratch)

    def births(self) -> Tensor:
        """Return the step at which each row began [R]."""
        return torch.zeros_like(self.sentence) if self.born is None else self.born

    def after(self, block: Tensor, ancestors: Tensor, sentence: Tensor) -> "CompiledState":
        """Return the state after a step that wrote `block`, with the rows that continue [R]."""
        # Not dataclasses.replace, which takes as long as a small product, at every step.
        return CompiledState((*self.blocks, block), ancestors, sentence, self.num_sentences, self.born, self.scratch)

    def grown(self, block: Tensor) -> "CompiledState":
        """Return the state after a step that wrote `block`, in which each row continues itself."""
        own = torch.arange(len(self.ancestors), dtype=torch.int32).unsqueeze(1)
        return self.after(block, torch.cat([self.ancestors, own], dim=1), self.sentence)


class Scratch:
    """Memory that a search reuses at every step: new memory takes as much time as writing to it."""

    def __init__(self, vocab_size: int) -> None:
        self._scores, self._room = torch.empty(0, vocab_size), torch.empty(0)

    def scores(self, rows: int) -> Tensor:
        """Return room for scores [rows, V]."""
        if self._scores.shape[0] != rows:
            self._scores = self._scores[:rows]
        if self._scores.shape[0] < rows:
            self._scores = torch.empty(rows, self._scores.shape[1])
        return self._scores

    def room(self, count: int) -> Tensor:
        """Return at least `count` floats."""
        if self._room.numel() < count:
            self._room = torch.empty(count)
        return self._room


def why_not(model: Seq2Seq) -> str:
    """Return why a model is not supported, naming the field of its recipe, or an empty string if it is."""
    return fused.why_not(model, MIXERS)


class CompiledTransformer:
    """Score the next token of a plain Transformer decoder, equal to the model up to rounding.

    Each step of a search overwrites the log-probabilities of the previous one.
    """

    def __init__(self, model: Seq2Seq, is_narrow: bool) -> None:
        """Lay out weights, in 8 bits if `is_narrow`; `why_not` must return nothing for the model.

        Raises ResourceError if the source cannot be compiled.
        """
        decoder, head = model.decoder, model.head
        assert isinstance(decoder, TransformerDecoder)
        assert isinstance(head, SoftmaxHead)
        self.library = compiled(SOURCE)
        self.library.room_needed.restype = ctypes.c_int64
        narrow = Narrow(self.library.largest_weight(), self.library.most_narrow_inputs())
        self.packing = Packing(self.library.columns(), narrow if is_narrow else None)
        self.encode = (
            _CompiledEncoder(model.encoder, self.packing, self.library)
            if _fits(model.encoder)
            else _Encoder(model.encoder)
        )
        self.stack = self.packing.stack(decoder, list(decoder.layers), head.projection)
        attended = (self.stack.heads + 2 * self.stack.groups) * self.stack.head_width
        self.block_width = self.stack.width if self.stack.mixer == SSRU else attended
        self.read_width = 2 * self.stack.groups * self.stack.head_width
        self.vocab_size = head.projection.weight.shape[0]
        self.positions = _PositionRows(decoder.positions, decoder.width, self.stack.head_width)

    def start(self, source: Source) -> tuple[CompiledMemory, CompiledState]:
        """Encode B sentences, and compute each layer's keys and values."""
        scratch = Scratch(self.vocab_size)
        memory, mask = self.encode(source, scratch)
        num_sentences, places, _ = memory.shape
        read = torch.empty(self.stack.layers, num_sentences, places, self.read_width)
        addresses = Pointer(memory.data_ptr()), Pointer(read.data_ptr())
        self.library.read_memory(ctypes.byref(self.stack), num_sentences * places, *addresses)
        sentence = torch.arange(num_sentences, dtype=torch.int32)
        state = CompiledState((), sentence.new_empty(num_sentences, 0), sentence, num_sentences, None, scratch)
        return CompiledMemory(read, mask), state

    def step(self, token: Tensor, state: CompiledState, context: CompiledMemory) -> tuple[Tensor, CompiledState]:
        """Read one token per row [R]; return log-probabilities [R, V] and the next state."""
        scores = state.scratch.scores(len(token))
        return scores, state.grown(self.step_with(self.library.decoder_step, token, state, context))

    def step_with(
        self,
        function: Callable[..., object],
        token: Tensor,
        state: CompiledState,
        context: CompiledMemory,
        *others: object,
    ) -> Tensor:
        """Compute one step by a function of the library; return the block [L, R, …] that it wrote."""
        rows, time = state.ancestors.shape
        num_sentences, places = context.mask.shape
        block = torch.empty(self.stack.layers, rows, self.block_width)
        blocks = (*state.blocks, block)
        numbers = (Int * len(blocks))(*[each.shape[1] for each in blocks])
        addresses = (Pointer * len(blocks))(*map(Tensor.data_ptr, blocks))
        scores = state.scratch.scores(rows)
        room = state.scratch.room(self.library.room_needed(ctypes.byref(self.stack), rows, max(time + 1, places)))
        token, told = token.contiguous(), self.positions.upto(time + 1)
        step = StepCall(rows, time, num_sentences, places, token.data_ptr())
        step.position, step.turn = told[0].data_ptr(), told[1].data_ptr()
        step.born = None if state.born is None else state.born.data_ptr()
        step.ancestors, step.sentence = state.ancestors.data_ptr(), state.sentence.data_ptr()
        step.blocks, step.block_rows = ctypes.addressof(addresses), ctypes.addressof(numbers)
        step.memory, step.mask = context.memory.data_ptr(), context.mask.data_ptr()
        step.log_probs, step.room = scores.data_ptr(), room.data_ptr()
        function(ctypes.byref(self.stack), ctypes.byref(step), *others)
        return block


class _Encoder:
    """Encode by the model's encoder."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __call__(self, source: Source, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """Return the memory [B, S, D] and its mask [B, S]."""
        memory = self.encoder(source)
        return memory.states.contiguous(), memory.mask.contiguous()


class _CompiledEncoder:
    """Encode by one call of the library."""

    def __init__(self, encoder: Encoder, packing: Packing, library: ctypes.CDLL) -> None:
        assert isinstance(encoder, TransformerEncoder)
        self.library, self.checked = library, encoder.positions
        self.stack = packing.stack(encoder, list(encoder.layers))
        self.own_width = (self.stack.heads + 2 * self.stack.groups) * self.stack.head_width
        self.positions = _PositionRows(encoder.positions, self.stack.width, self.stack.head_width)

    def __call__(self, source: Source, scratch: Scratch) -> tuple[Tensor, Tensor]:
        """Return the memory [B, S, D] and its mask [B, S]."""
        num_sentences, places = source.tokens.shape
        self.checked.check(places)
        tokens, mask = source.tokens.contiguous(), source.mask.contiguous()
        rows, told = num_sentences * places, self.positions.upto(places)
        memory, own = torch.empty(num_sentences, places, self.stack.width), torch.empty(rows, self.own_width)
        stack = ctypes.byref(self.stack)
        room = scratch.room(self.library.room_needed(stack, rows, places))
        addresses = [Pointer(part.data_ptr()) for part in (tokens, *told, mask, memory, own, room)]
        self.library.encode(stack, num_sentences, places, *addresses)
        return memory, mask


class _PositionRows:
    """Tables of positions: a row [D] that is added, and a row [d] that rotates queries and keys."""

    def __init__(self, positions: Positions, width: int, head_width: int) -> None:
        self.positions = positions
        self.told = torch.empty(0, width), torch.empty(0, head_width)

    def upto(self, count: int) -> tuple[Tensor, Tensor]:
        """Return at least `count` rows of both; no rows of the second if there is no rotation."""
        rows, turns = self.told
        if rows.shape[0] < count:
            places = torch.arange(2 * count)
            rows = self.positions.add_to(torch.zeros(len(places), rows.shape[1]), places).contiguous()
            turn = self.positions.turn(places)
            # [1, T, d/2] of cosines, and of sines
            turns = turns if turn is None else torch.cat(turn, dim=-1)[0].contiguous()
            self.told = rows, turns
        return rows, turns


def _fits(encoder: Encoder) -> bool:
    return isinstance(encoder, TransformerEncoder) and not encoder.positions.biases_attention
