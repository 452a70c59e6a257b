"""An update shared out to processes of one thread each, which add their gradients in shared memory.

They meet once an update, where threads meet at every product: faster, and steady beside other busy programs.
"""

import mmap
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from types import TracebackType

import torch
from torch import Tensor, nn

from calque import rows
from calque.batch import Batch
from calque.errors import ResourceError
from calque.forked import begin, forking, one_thread
from calque.model import Seq2Seq
from calque.nn.objectives import Objective
from calque.training.config import TrainConfig
from calque.training.updates import Gradients, accumulate, count_tokens, gradients_here


@contextmanager
def gradients_shared(model: Seq2Seq, objective: Objective, config: TrainConfig) -> Iterator[Gradients]:
    """Give what computes the gradients of an update, in as many processes as the recipe says."""
    if config.parallel == "threads" or config.threads == 1 or config.device != "cpu":
        yield gradients_here(model, objective, config)
        return
    with Team(model, objective, config) as team:
        yield team


class Team:
    """Compute the gradients of an update in `train.threads` processes, this one among them, while entered.

    All read the same weights. Dropout in a helper draws from a seed that this process draws for each update, so that
    what resumes is this process's state alone.
    """

    def __init__(self, model: Seq2Seq, objective: Objective, config: TrainConfig) -> None:
        self.model, self.objective, self.config = model, objective, config
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.helpers: list[Helper] = []

    def __enter__(self) -> "Team":
        """Move the weights into shared memory, and fork."""
        for parameter in self.parameters:
            parameter.data = shared(parameter.data.shape).copy_(parameter.data)
        for _ in range(self.config.threads - 1):
            self.helpers.append(Helper(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the helpers: they hold nothing that is not here."""
        for helper in self.helpers:
            helper.stop()
        self.helpers.clear()

    def __call__(self, pieces: Sequence[Batch]) -> tuple[float, int]:
        """Add the gradients of all pieces; ResourceError where a process was killed."""
        tokens = count_tokens(pieces)
        own, *others = share_out(pieces, 1 + len(self.helpers))
        seeds = torch.randint(2**62, (len(others),)).tolist()
        for helper, share, seed in zip(self.helpers, others, seeds, strict=True):
            helper.ask(share, tokens, seed)
        with one_thread():
            loss = accumulate(self.model, own, tokens, self.objective, self.config)
        for helper in self.helpers:
            loss += helper.answer()
            add_gradients(self.parameters, helper.gradients)
        return loss, tokens


class Helper:
    """Be a process that computes a share of each update into gradients of its own, which the parent can read."""

    def __init__(self, team: Team) -> None:
        self.gradients = [shared(parameter.shape) for parameter in team.parameters]
        with forking() as context:
            self.connection, other = context.Pipe()
            # What the parent holds of others a child must not hold: it would keep them waiting when the parent dies.
            foreign = [self.connection, *(helper.connection for helper in team.helpers)]
            self.process = context.Process(target=_help, args=(team, self.gradients, other, foreign), daemon=True)
            self.process.start()
        other.close()

    def ask(self, share: Sequence[Batch], tokens: int, seed: int) -> None:
        """Have the gradients of a share of an update of `tokens` computed, dropout drawing from `seed`."""
        try:
            self.connection.send_bytes(pickle.dumps((share, tokens, seed)))
        except OSError as error:
            raise self._killed() from error

    def answer(self) -> float:
        """Wait until `gradients` are there; return the share of the mean loss."""
        try:
            answer: float | str = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._killed() from error
        if isinstance(answer, str):
            raise RuntimeError(f"a process that helps to train failed:\n{answer}")
        return answer

    def stop(self) -> None:
        """End the process, in the midst of its work or not."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()

    def _killed(self) -> ResourceError:
        return ResourceError(
            "a process that helped to train was killed, perhaps for memory. The same command goes on from the last"
            " checkpoint; --set train.parallel=threads takes one process and less memory"
        )


def share_out(pieces: Sequence[Batch], count: int) -> list[list[Batch]]:
    """Cut the sentences of all pieces, laid end to end, into `count` runs of nearly as many cells of both sides."""
    cells = [piece.source.mask.numel() + piece.target.mask.numel() for piece in pieces]
    borders = [sum(cells) * number / count for number in range(count + 1)]
    shares: list[list[Batch]] = [[] for _ in range(count)]
    before = 0
    for piece, size in zip(pieces, cells, strict=True):
        num_rows = len(piece.target.mask)
        cuts = [round(min(1.0, max(0.0, (border - before) / size)) * num_rows) for border in borders]
        for share, start, stop in zip(shares, cuts, cuts[1:], strict=False):
            if start < stop:
                share.append(rows.select(piece, torch.arange(start, stop)))
        before += size
    return shares


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Add gradients from elsewhere to those of the parameters."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient.clone()
        else:
            parameter.grad += gradient


def shared(shape: torch.Size) -> Tensor:
    """Return zeros that a forked process shares; unlike a file of shared memory, no limit of a container binds them."""
    memory = mmap.mmap(-1, max(1, shape.numel()) * torch.float32.itemsize)
    return torch.frombuffer(memory, dtype=torch.float32)[: shape.numel()].view(shape)


def _help(team: Team, gradients: list[Tensor], connection: Connection, foreign: list[Connection]) -> None:
    """Be a helper until the parent is gone; its interruptions are the parent's to answer."""
    begin(signal.SIGINT, signal.SIGTERM)
    for other in foreign:
        other.close()
    for parameter, gradient in zip(team.parameters, gradients, strict=True):
        parameter.grad = gradient
    while True:
        try:
            share, tokens, seed = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        for gradient in gradients:
            gradient.zero_()
        torch.manual_seed(seed)
        answer: float | str
        try:
            answer = accumulate(team.model, share, tokens, team.objective, team.config)
        except Exception:
            answer = traceback.format_exc()
        connection.send_bytes(pickle.dumps(answer))
