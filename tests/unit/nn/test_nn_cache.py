"""The decoder's cache: it grows past its room, and selecting rows moves only what is filled."""

import torch

from calque import rows
from calque.nn.attention.multihead import FIRST_CAPACITY, Cache, empty_cache
from calque.nn.embedding import Embedding
from calque.nn.parts import Memory, MemoryShape
from calque.nn.transformer.encoder_decoder import TransformerDecoder, TransformerDecoderConfig

ROWS, HEADS, WIDTH = 3, 2, 8


def filled(steps: int) -> tuple[Cache, torch.Tensor, torch.Tensor]:
    """Write random keys and values for some steps; return them too."""
    cache = empty_cache(torch.zeros(ROWS, 1), HEADS, WIDTH)
    keys, values = torch.randn(2, ROWS, HEADS, steps, WIDTH // HEADS).unbind(0)
    for step in range(steps):
        place = slice(step, step + 1)
        cache = cache.write(keys[:, :, place], values[:, :, place], torch.full((ROWS,), step))
    return cache, keys, values


def test_it_holds_what_was_written_beyond_its_first_room() -> None:
    for steps in (1, FIRST_CAPACITY, FIRST_CAPACITY + 1, 2 * FIRST_CAPACITY + 1):
        cache, keys, values = filled(steps)
        assert cache.length == steps
        assert cache.keys.shape[2] >= steps
        assert torch.equal(cache.filled()[0], keys)
        assert torch.equal(cache.filled()[1], values)


def test_writing_within_the_room_copies_nothing() -> None:
    cache, keys, values = filled(3)
    longer = cache.write(keys[:, :, :1], values[:, :, :1], torch.full((ROWS,), 3))
    assert longer.keys.data_ptr() == cache.keys.data_ptr()
    assert longer.length == 4


def test_rows_write_at_their_own_positions() -> None:
    cache, _, _ = filled(4)
    key = torch.ones(ROWS, HEADS, 1, WIDTH // HEADS)
    written = cache.write(key, 2 * key, torch.tensor([4, 0, 2]))
    for row, place in enumerate((4, 0, 2)):
        assert written.keys[row, :, place].eq(1).all()
        assert written.values[row, :, place].eq(2).all()
    assert written.keys[1, :, 4].eq(0).all()


def test_select_moves_only_filled_places() -> None:
    cache, keys, values = filled(5)
    # Something beyond the filled places must not travel: it would cost as much as the whole room.
    cache.keys[:, :, 5:] = float("nan")
    moved = []

    class Watched(torch.Tensor):
        """Note the extent of what is gathered."""

        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            if function is torch.Tensor.index_select:
                moved.append(args[0].shape[2])
            return super().__torch_function__(function, types, args, kwargs or {})

    watched = Cache(cache.keys.as_subclass(Watched), cache.values.as_subclass(Watched), cache.length)
    taken = rows.select(watched, torch.tensor([2, 0, 0, 1]))
    assert moved == [5, 5]
    assert taken.length == 5
    assert taken.keys.shape[0] == 4
    assert torch.equal(taken.filled()[0].as_subclass(torch.Tensor), keys[[2, 0, 0, 1]])
    assert torch.equal(taken.filled()[1].as_subclass(torch.Tensor), values[[2, 0, 0, 1]])


@torch.no_grad()
def test_decoding_beyond_the_first_room_equals_reading_at_once() -> None:
    torch.manual_seed(5)
    config = TransformerDecoderConfig(layers=2, width=WIDTH, heads=HEADS, feed_forward=12)
    decoder = TransformerDecoder(config, Embedding(11, WIDTH), MemoryShape(WIDTH, WIDTH, 1, False)).eval()
    memory = Memory(torch.randn(2, 4, WIDTH), torch.ones(2, 4, dtype=torch.bool), ())
    tokens = torch.randint(11, (2, 2 * FIRST_CAPACITY + 5))
    context, state = decoder.start(memory)
    hidden = []
    for token in tokens.unbind(1):
        output, state = decoder.step(token, state, context)
        hidden.append(output.hidden)
    torch.testing.assert_close(torch.stack(hidden, 1), decoder(tokens, memory).hidden, rtol=1e-5, atol=1e-5)
