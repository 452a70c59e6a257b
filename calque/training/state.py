"""What resumes is a list: every part of a run that must come back exactly, each with its tensors and values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from calque.folder.checkpoint import Snapshot

MODEL = "model"


class Stateful:
    """A part of a run that is saved and restored; a kind overrides what it needs."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what is saved as tensors."""
        return {}

    def values(self) -> dict[str, Any]:
        """Return what is saved as JSON: text keys, lists, finite numbers."""
        return {}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Set the state to what was saved."""
        for name, value in values.items():
            setattr(self, name, value)


@dataclass
class ModelState(Stateful):
    """The weights, shared ones once."""

    model: nn.Module

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Set the weights."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[name])


@dataclass
class OptimizerState(Stateful):
    """What the optimizer keeps of each parameter, by the parameter's number, and the values of each group."""

    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of parameters as `3.exp_avg`, those of groups as `group.0.rate`."""
        state, groups = self._parts()
        named = {f"{number}.{name}": value for number, part in state.items() for name, value in part.items()}
        named |= {
            f"group.{number}.{name}": value for number, group in enumerate(groups) for name, value in group.items()
        }
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def values(self) -> dict[str, Any]:
        """Return all that is no tensor: the values of each group, and counts of parameters."""
        state, groups = self._parts()
        counts = {str(number): _plain(part) for number, part in state.items() if _plain(part)}
        return {"groups": [_plain(group) for group in groups]} | ({"state": counts} if counts else {})

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Set tensors and values. A checkpoint of calque 0.1.0 holds no values: groups stay as they were built."""
        state: dict[int, dict[str, Any]] = {int(number): dict(part) for number, part in values.get("state", {}).items()}
        groups = self.optimizer.state_dict()["param_groups"]
        for group, saved in zip(groups, values.get("groups", [{}] * len(groups)), strict=True):
            group |= {
                name: tuple(value) if isinstance(group.get(name), tuple) else value for name, value in saved.items()
            }
        for key, tensor in tensors.items():
            place, name = key.split(".", 1)
            if place == "group":
                number, name = name.split(".", 1)
                groups[int(number)][name] = tensor
            else:
                state.setdefault(int(place), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _parts(self) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
        """Return the state of parameters, and the groups without their parameters."""
        whole = self.optimizer.state_dict()
        groups = [{name: value for name, value in group.items() if name != "params"} for group in whole["param_groups"]]
        return whole["state"], groups


def _plain(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is no tensor, as JSON holds it."""
    named = {name: value for name, value in part.items() if not isinstance(value, Tensor)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}


@dataclass
class Position(Stateful):
    """The place of a run in the data: updates in all, the epoch, and the updates done in it."""

    step: int = 0
    epoch: int = 0
    done: int = 0

    def values(self) -> dict[str, Any]:
        """Return the three integers."""
        return asdict(self)


@dataclass
class Patience(Stateful):
    """The best validation, and how many have passed since."""

    best_score: float | None = None
    best_loss: float = float("inf")
    best_step: int = 0
    since: int = 0

    def judge(self, step: int, score: float, loss: float) -> bool:
        """Record a validation, higher scores being better; return whether it is the best. Ties: the lower loss."""
        if self.best_score is None or (score, -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss, self.best_step, self.since = score, loss, step, 0
            return True
        self.since += 1
        return False

    def values(self) -> dict[str, Any]:
        """Return the best and the count."""
        return asdict(self) if self.best_score is not None else {}


@dataclass
class Elapsed(Stateful):
    """The seconds of training, over all starts of a run."""

    seconds: float = 0.0

    def values(self) -> dict[str, Any]:
        """Return the seconds."""
        return asdict(self)


@dataclass
class Completion(Stateful):
    """Why a run ended by itself, and under which limits: raised limits let it go on."""

    reason: str = ""
    limits: list[Any] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """Return reason and limits."""
        return asdict(self)


class RandomState(Stateful):
    """The generators of torch, from which dropout draws."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of each generator."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

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
