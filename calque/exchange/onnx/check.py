"""Comparison of ONNX Runtime with the exported model: if they differ, the export is removed."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calque.batch import Source
from calque.errors import CalqueError
from calque.exchange.onnx.examples import Sizes, num_sources, random_source
from calque.exchange.onnx.graphs import ENCODER, STEP
from calque.exchange.onnx.library import library
from calque.ids import BOS
from calque.model import Seq2Seq
from calque.rows import select

Arrays = dict[str, NDArray[Any]]
TOLERANCE = 1e-4
NUM_STEPS = 12
# One sentence of one token, and larger sizes than those that the graphs were traced with.
CALLS = (Sizes(1, 1, 1, 0, 0, 0), Sizes(3, 1, 9, 2, 14, 0), Sizes(4, 3, 6, 5, 7, 0))


class Runtime:
    """Run both graphs of a folder with ONNX Runtime on one thread."""

    def __init__(self, folder: Path) -> None:
        onnxruntime = library("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Only errors: its advice is for graphs that were written by hand.
        options.log_severity_level = 3
        self.encoder, self.decoder_step = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in (ENCODER, STEP)
        )

    def start(self, source: Source) -> tuple[Arrays, Arrays]:
        """Return context and first state by name."""
        given = {name: tensor.numpy() for name, tensor in vars(source).items() if tensor is not None}
        found = _run(self.encoder, given)
        context = {name: value for name, value in found.items() if name.startswith("context.")}
        return context, {name: value for name, value in found.items() if name.startswith("state.")}

    def step(self, token: NDArray[np.int64], state: Arrays, context: Arrays) -> tuple[NDArray[Any], Arrays]:
        """Return log-probabilities and the next state by name."""
        found = _run(self.decoder_step, {"token": token, **state, **context})
        log_probs = found.pop("log_probs")
        return log_probs, {name.removeprefix("next_"): value for name, value in found.items()}


def _run(session: Any, given: Arrays) -> Arrays:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


@torch.no_grad()
def require_equal(model: Seq2Seq, folder: Path) -> None:
    """Raise CalqueError if log-probabilities along greedy paths, or the chosen tokens, differ from the model's."""
    runtime, generator = Runtime(folder), torch.Generator().manual_seed(1)
    parts = num_sources(model)
    for sizes in CALLS:
        length = max(sizes.length, 2 * parts) if parts > 1 else sizes.length
        source = random_source(model, Sizes(sizes.batch, sizes.beam, length, sizes.forms, sizes.edges, 0), generator)
        difference = _difference(model, runtime, source, sizes.beam)
        if not difference <= TOLERANCE:
            raise CalqueError(
                f"ONNX Runtime's log-probabilities differ from the model's by {difference:.2g}, more than the"
                f" allowed {TOLERANCE}, so nothing was written; try another version of torch, onnxscript or onnxruntime"
            )


def _difference(model: Seq2Seq, runtime: Runtime, source: Source, beam: int) -> float:
    """Return the largest difference of log-probabilities along greedy paths, infinite where other tokens are chosen.

    The K rows of a sentence begin with different tokens.
    """
    rows = torch.arange(len(source.tokens)).repeat_interleave(beam)
    context, state = model.start(source)
    state = select(state, rows)
    arrays, own = runtime.start(source)
    own = {name: value[rows.numpy()] for name, value in own.items()}
    token = torch.full([len(rows)], BOS) + torch.arange(len(rows)) % beam
    worst = 0.0
    for _ in range(NUM_STEPS):
        log_probs, state = model.step(token, state, context)
        found, own = runtime.step(token.numpy(), own, arrays)
        expected, given = log_probs.double(), torch.from_numpy(found).double()
        possible = expected > float("-inf")
        if given.shape != expected.shape or not torch.equal(possible, given > float("-inf")):
            return float("inf")
        worst = max(worst, float((expected - given)[possible].abs().max()))
        token = expected.argmax(dim=-1)
        # Two tokens that are equally likely within the tolerance both count as the model's choice.
        chosen = expected.gather(1, given.argmax(dim=-1, keepdim=True)).squeeze(1)
        if bool((expected.amax(dim=-1) - chosen > TOLERANCE).any()):
            return float("inf")
    return worst
