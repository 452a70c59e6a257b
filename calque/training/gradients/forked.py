"""An update shared out to processes of one thread each, which add their gradients in shared memory.

They meet once an update, where threads meet at every product: faster, and steady beside other busy programs.
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
from calque.system.processes import begin, can_fork, forking, one_thread
from calque.training.config import TrainConfig
from calque.training.gradients.here import Gradients, GradientsHere
from calque.training.objectives.objective import Learner

# What one more micro-batch costs, however short, in cells of either side: 150 to 175 in a Transformer 128 wide, 115 in
# one 256 wide.
OPENING = 150
KILLED = (
    "The same command continues from the last checkpoint; --set train.parallel=threads uses one process and less memory"
)


@contextmanager
def gradients_shared(learner: Learner, config: TrainConfig) -> Iterator[Gradients]:
    """Yield what computes the gradients of an update, in as many processes as the recipe sets.

    Raises UsageError where this process cannot have children.
    """
    if config.parallel == "threads" or config.threads == 1 or config.device != "cpu":
        yield GradientsHere(learner, config)
        return
    if not can_fork():
        raise UsageError(
            "train.parallel is processes, and this process cannot fork any: it is a daemon, or this is not Linux."
            " Use threads: --set train.parallel=threads"
        )
    with Team(learner, config) as team:
        yield team


class Team(Gradients):
    """Compute the gradients of an update in `train.threads` processes, this one among them, while entered.

    All read the same weights. Dropout in a helper draws from a seed that this process draws for each update, so that
    what resumes is this process's state alone.
    """

    def __init__(self, learner: Learner, config: TrainConfig) -> None:
        self.own, self.threads = GradientsHere(learner, config), config.threads
        self.parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        self.helpers: list[Helper] = []

    def __enter__(self) -> "Team":
        """Move the weights into shared memory, and fork."""
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
        """End the helpers: they hold nothing that is not here. The weights are this process's alone again."""
        self._stop()
        for parameter in self.parameters:
            parameter.data = parameter.data.clone()

    def _stop(self) -> None:
        for helper in self.helpers:
            helper.process.kill()
        while self.helpers:
            self.helpers.pop().close()

    def accumulate(self, micro_batches: Sequence[Batch], tokens: int) -> float:
        """Compute the gradients of some micro-batches of an update of `tokens`; return their share of its mean loss.

        Raises ResourceError where a process was killed; the team cannot be used after an error.
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
    """A process that computes a share of each update into gradients of its own, which the parent can read."""

    def __init__(self, team: Team) -> None:
        self.gradients = [shared(parameter.shape) for parameter in team.parameters]
        with forking() as context:
            self.connection, other = context.Pipe()
            # A child must not hold the parent's ends of other pipes: other children would wait on when the parent dies.
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

    def close(self) -> None:
        """Wait for a process that was ended."""
        self.process.join()
        self.process.close()
        self.connection.close()

    def _killed(self) -> ResourceError:
        return ResourceError(f"a process that helped to train was killed, perhaps for memory. {KILLED}")


def share_out(micro_batches: Sequence[Batch], count: int) -> list[list[Batch]]:
    """Cut the sentences of all micro-batches, laid end to end, into `count` shares of nearly equal cost.

    A border near one between two micro-batches is moved there: computing a rest of a few sentences costs more than
    the even shares save.
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
    """Return the nearest of `edges` where a cut at `border` would cost more than the move makes uneven."""
    nearest = min(edges, key=lambda edge: abs(edge - border))
    return nearest if abs(nearest - border) <= OPENING / 2 else border


def add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor]) -> None:
    """Add gradients from elsewhere to those of the parameters.

    A parameter that no process has reached, as in a dropped layer, keeps no gradient.
    """
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if parameter.grad is not None:
            parameter.grad += gradient
        elif gradient.any():
            parameter.grad = gradient.clone()


def shared(shape: torch.Size) -> Tensor:
    """Return zeros that a forked process shares; a container's limit on files of shared memory does not apply."""
    memory = mmap.mmap(-1, max(1, shape.numel()) * torch.float32.itemsize)
    return torch.frombuffer(memory, dtype=torch.float32)[: shape.numel()].view(shape)


def _help(team: Team, gradients: list[Tensor], connection: Connection, foreign: list[Connection]) -> None:
    """Run as a helper until the parent is gone; the parent alone handles interruptions."""
    begin(signal.SIGINT, signal.SIGTERM)
    for other in foreign:
        # It may be closed already: the garbage collector of this process also ends what the parent had forgotten.
        with suppress(OSError):
            other.close()
    for parameter, gradient in zip(team.parameters, gradients, strict=True):
        parameter.grad = gradient
    # The pipe ends with the parent.
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(pickle.dumps(_answer(team, gradients, connection.recv_bytes())))


def _answer(team: Team, gradients: Sequence[Tensor], asked: bytes) -> float | str:
    """Compute a share, and return its loss, or what went wrong."""
    try:
        share, tokens, seed = pickle.loads(asked)
        for gradient in gradients:
            gradient.zero_()
        torch.manual_seed(seed)
        return team.own.accumulate(share, tokens)
    except Exception:
        return traceback.format_exc()
