"""What resumes is a list: every part of a run that must come back exactly, each with its tensors and values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from calque.folder.checkpoint import Snapshot

MODEL = "model"


class Stateful(Protocol):
    """Be a part of a run that is saved and restored."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what is saved as tensors."""

    def values(self) -> dict[str, Any]:
        """Return what is saved as JSON."""

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Become what was saved."""


@dataclass
class ModelState:
    """Hold the weights, shared ones once."""

    model: nn.Module

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def values(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put the weights back."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[name])


@dataclass
class OptimizerState:
    """Hold the optimizer's memory of each parameter, by the parameter's number."""

    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments and counts."""
        state = self.optimizer.state_dict()["state"]
        return {f"{number}.{name}": tensor for number, parts in state.items() for name, tensor in parts.items()}

    def values(self) -> dict[str, Any]:
        """Return nothing: the rate follows from the update's number."""
        return {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Put moments and counts back."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            number, name = key.split(".", 1)
            state.setdefault(int(number), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


@dataclass
class Position:
    """Tell where in the data a run is: updates in all, the epoch, and updates done in it."""

    step: int = 0
    epoch: int = 0
    done: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return the three integers."""
        return asdict(self)

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go back to a position."""
        self.step, self.epoch, self.done = values["step"], values["epoch"], values["done"]


@dataclass
class Patience:
    """Remember the best validation and how many have passed since."""

    best_score: float | None = None
    best_loss: float = float("inf")
    best_step: int = 0
    since: int = 0

    def judge(self, step: int, score: float, loss: float) -> bool:
        """Take a validation in, higher scores being better; say whether it is the best. Ties: the lower loss."""
        if self.best_score is None or (score, -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss, self.best_step, self.since = score, loss, step, 0
            return True
        self.since += 1
        return False

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return the best and the count."""
        return asdict(self) if self.best_score is not None else {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go back to what was the best then."""
        for name, value in values.items():
            setattr(self, name, value)


@dataclass
class Elapsed:
    """Count the seconds of training, over all starts of a run."""

    seconds: float = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return the seconds."""
        return {"seconds": self.seconds}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on counting from what was saved."""
        self.seconds = values["seconds"]


@dataclass
class Ending:
    """Remember why a run ended by itself, and under which limits: raised ones let it go on."""

    reason: str = ""
    limits: list[Any] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """Return nothing."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return reason and limits."""
        return asdict(self)

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Remember what was saved."""
        self.reason, self.limits = values["reason"], values["limits"]


class RandomState:
    """Hold torch's generators, from which dropout draws."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of each generator."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def values(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Set the generators."""
        torch.set_rng_state(tensors["cpu"])
        if torch.cuda.is_available() and "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"])


def take(parts: Mapping[str, Stateful]) -> Snapshot:
    """Return the state of all parts; the model's weights apart, since they are a file of their own."""
    others = {
        f"{name}/{key}": tensor
        for name, part in parts.items()
        if name != MODEL
        for key, tensor in part.tensors().items()
    }
    return Snapshot(parts[MODEL].tensors(), others, {name: part.values() for name, part in parts.items()})


def put_back(parts: Mapping[str, Stateful], snapshot: Snapshot) -> None:
    """Restore all parts from a snapshot."""
    parts[MODEL].restore(snapshot.model, {})
    for name, part in parts.items():
        if name == MODEL:
            continue
        start = f"{name}/"
        own = {key.removeprefix(start): value for key, value in snapshot.optimizer.items() if key.startswith(start)}
        part.restore(own, snapshot.state[name])
