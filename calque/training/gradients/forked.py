"""Gradients by forked processes of one thread each, which share an update and return gradients in shared memory.

Processes wait for each other once per update, threads at every operation. This is faster, and other busy programs slow
it down less.
"""

import mmap
import pickle
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate as running_sums
from multiprocessing.connection import Connection
from types import TracebackType

import torch
from torch import Tensor, nn

from calque import rows
from calque.batch import Batch
from calque.errors import ResourceError, UsageError
from calque.system.forks import can_fork, forking
from calque.system.processes import begin, one_thread
from calque.training.config import TrainConfig
from calque.training.gradients.here import Gradients, GradientsHere
from calque.training.objectives.objective import Learner

# The fixed cost of a micro-batch, in cells of source and target: 150 to 175 in a Transformer of width 128, 115 in one
# of width 256.
OPENING = 150
KILLED = (
    "The same command continues from the last checkpoint; --set train.parallel=threads uses one process and less memory"
)


@contextmanager
def gradients_shared(learner: Learner, config: TrainConfig) -> Iterator[Gradients]:
    """Yield gradients that are computed in as many processes as the recipe sets.

    Raises UsageError if this process cannot fork.
    """
    if config.parallel == "threads" or config.threads == 1 or config.device != "cpu":
        yield GradientsHere(learner, config)
        return
    if not can_fork():
        raise UsageError(
            "train.parallel is processes, but this process cannot fork: it is a daemon, or this is not Linux."
            " Use threads: --set train.parallel=threads"
        )
    with Team(learner, config) as team:
        yield team


class Team(Gradients):
    """Compute the gradients of an update in `train.threads` processes, including this one, while entered.

    All processes share the weights. This process draws a seed of dropout for every helper in each update, so a
    checkpoint needs only the state of this process.
    """

    def __init__(self, learner: Learner, config: TrainConfig) -> None:
        self.own, self.threads = GradientsHere(learner, config), config.threads
        self.parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self.helpers: list[Helper] = []

    def __enter__(self) -> "Team":
        """Move the weights to shared memory, and fork the helpers."""
        for parameter in self.parameters:
            parameter.data = shared(parameter.data.shape).copy_(parameter.data)
        try:
            for _ in range(self.threads - 1):
                self.helpers.append(Helper(self))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the helpers, which have no state of their own, and move the weights out of shared memory."""
        self._stop()
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()

    def _stop(self) -> None:
        for helper in self.helpers:
            helper.process.kill()
        while self.helpers:
            self.helpers.pop().close()

    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Add the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss.

        Raises ResourceError if a process was killed; the team cannot be used after an error.
        """
        own, *others = share_out(micro_batches, 1 + len(self.helpers))
        seeds = torch.randint(2**62, (len(others),)).tolist()
        for helper, share, seed in zip(self.helpers, others, seeds, strict=True):
            helper.ask(share, tokens, seed)
        with one_thread():
            loss = self.own.accumulate(own, tokens)
        for helper in self.helpers:
            loss += helper.answer()
            add_gradients(self.parameters, helper.gradients)
        return loss


class Helper:
    """A process that computes the gradients of a share of each update in memory that it shares with its parent."""

    def __init__(self, team: Team) -> None:
        self.gradients = [shared(parameter.shape) for parameter in team.parameters]
        with forking() as context:
            self.connection, other = context.Pipe()
            # Other children would not notice the end of the parent if this one kept the parent's ends of their pipes.
            foreign = [self.connection, *(helper.connection for helper in team.helpers)]
            self.process = context.Process(target=_help, args=(team, self.gradients, other, foreign), daemon=True)
            self.process.start()
        other.close()

    def ask(self, share: Sequence[Batch], tokens: int, seed: int) -> None:
        """Start computing the gradients of a share of an update of `tokens`; `seed` is that of dropout."""
        try:
            self.connection.send_bytes(pickle.dumps((share, tokens, seed)))
        except OSError as error:
            raise self._killed() from error

    def answer(self) -> float:
        """Wait until `gradients` are computed; return the share of the mean loss."""
        try:
            answer: float | str = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._killed() from error
        if isinstance(answer, str):
            raise RuntimeError(f"a helper process of the training failed:\n{answer}")
        return answer

    def close(self) -> None:
        """Wait for the process, which was killed."""
        self.process.join()
        self.process.close()
        self.connection.close()

    def _killed(self) -> ResourceError:
        return ResourceError(f"a helper process of the training was killed, perhaps because memory ran out. {KILLED}")


def share_out(micro_batches: Sequence[Batch], count: int) -> list[list[Batch]]:
    """Split the sentences of all micro-batches, in their order, into `count` shares of nearly equal cost.

    A border of shares that is close to one of micro-batches is moved there: a separate micro-batch of few sentences
    would cost more than equal shares save.
    """
    costs = [OPENING + each.source.mask.numel() + each.target.mask.numel() for each in micro_batches]
    edges = list(running_sums(costs, initial=0))
    borders = [_near_edge(edges[-1] * number / count, edges) for number in range(count + 1)]
    shares: list[list[Batch]] = [[] for _ in range(count)]
    for micro_batch, before, cost in zip(micro_batches, edges, costs, strict=False):
        num_rows = len(micro_batch.target.mask)
        cuts = [round(min(1.0, max(0.0, (border - before) / cost)) * num_rows) for border in borders]
        for share, start, stop in zip(shares, cuts, cuts[1:], strict=False):
            if start < stop:
                share.append(rows.select(micro_batch, torch.arange(start, stop)))
    return shares


def _near_edge(border: float, edges: Sequence[float]) -> float:
    """Return the nearest of `edges` if it is close, else `border`."""
    nearest = min(edges, key=lambda edge: abs(edge - border))
    return nearest if abs(nearest - border) <= OPENING / 2 else border


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Add gradients of a helper to those of the parameters.

    A parameter that no process has used, such as one of a dropped layer, has no gradient.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is not None:
            parameter.grad += gradient
        elif gradient.any():
            parameter.grad = gradient.clone()


def shared(shape: torch.Size) -> Tensor:
    """Return zeros in memory that forked processes share, without files, which containers limit."""
    memory = mmap.mmap(-1, max(1, shape.numel()) * torch.float32.itemsize)
    return torch.frombuffer(memory, dtype=torch.float32)[: shape.numel()].view(shape)


def _help(team: Team, gradients: list[Tensor], connection: Connection, foreign: list[Connection]) -> None:
    """Run as a helper until the parent ends; only the parent handles interruptions."""
    begin(signal.SIGINT, signal.SIGTERM)
    for other in foreign:
        # It may be closed already by the garbage collector of this process.
        with suppress(OSError):
            other.close()
    for parameter, gradient in zip(team.parameters, gradients, strict=True):
        parameter.grad = gradient
    # When the parent ends, reading from the pipe raises an error.
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(pickle.dumps(_answer(team, gradients, connection.recv_bytes())))


def _answer(team: Team, gradients: Sequence[Tensor], asked: bytes) -> float | str:
    """Compute a share; return its loss, or the traceback of an error."""
    try:
        share, tokens, seed = pickle.loads(asked)
        for gradient in gradients:
            gradient.zero_()
        torch.manual_seed(seed)
        return team.own.accumulate(share, tokens)
    except Exception:
        return traceback.format_exc()
