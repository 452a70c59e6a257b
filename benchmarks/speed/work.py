"""How many products a model needs, so that a speed can be given as a share of the roof.

Multiplications and additions in matrix products count, two to a weight; a training step takes three times the forward
pass. Nothing else counts: norms, dropout, softmax and the optimizer's own work are what keeps a system from the roof.
"""

from dataclasses import dataclass

FORWARD_AND_BACK = 3


@dataclass(frozen=True)
class Lengths:
    """Hold mean tokens a sentence of both sides, </s> included."""

    source: float
    target: float


def transformer(lengths: Lengths, width: int = 256, inner: int = 1024, layers: int = 4, pieces: int = 8000) -> float:
    """Return the operations of training on one target token, its share of the source included; `layers` a side."""
    reading = layers * (4 * width**2 + 2 * width * inner + 2 * width * lengths.source)
    # Cross-attention makes keys and values of each source token, queries and outputs of each target token.
    reading += layers * 2 * width**2
    writing = layers * (6 * width**2 + 2 * width * inner + 2 * width * (lengths.target + lengths.source))
    writing += width * pieces
    return FORWARD_AND_BACK * 2 * (reading * lengths.source / lengths.target + writing)


def lstm(lengths: Lengths, width: int = 512, layers: int = 2, pieces: int = 8000) -> float:
    """Return the same for an LSTM with general attention, its reader half as wide each way."""
    reading = layers * 4 * width * (width + width // 2) + width**2
    writing = layers * 4 * width * 2 * width
    writing += 2 * width * lengths.source + 2 * width**2 + width * pieces
    return FORWARD_AND_BACK * 2 * (reading * lengths.source / lengths.target + writing)


OPERATIONS = {"transformer": transformer, "lstm": lstm}


@dataclass(frozen=True)
class Shape:
    """Hold the extent of a Transformer: layers of both sides, width, inner width, pieces of the target."""

    encoder: int
    decoder: int
    width: int
    inner: int
    pieces: int

    @property
    def step(self) -> int:
        """Return the weights that one step of decoding multiplies by; keys and values of the source are ready."""
        return self.decoder * (6 * self.width**2 + 2 * self.width * self.inner) + self.width * self.pieces


def translation(lengths: Lengths, shape: Shape, beam: int) -> float:
    """Return the operations of translating one sentence with a cache of keys and values."""
    width = shape.width
    reading = shape.encoder * (4 * width**2 + 2 * width * shape.inner + 2 * width * lengths.source)
    reading += shape.decoder * 2 * width**2
    # A step looks back on half of the target, on the average.
    looking = shape.decoder * 2 * width * (lengths.target / 2 + lengths.source)
    return 2 * (reading * lengths.source + beam * (shape.step + looking) * lengths.target)


def weights_read(lengths: Lengths, shape: Shape, bytes_each: int) -> float:
    """Return the bytes of weights that translating one sentence by itself reads: all of a step's, each step."""
    return shape.step * lengths.target * bytes_each
