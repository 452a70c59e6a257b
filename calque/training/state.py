"""The state of a run: a list of parts that are saved in a checkpoint, each with tensors and JSON values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeAlias, TypedDict, cast

import torch
from torch import Tensor, nn

from calque.config import Json, JsonObject
from calque.folder.checkpoint import Snapshot

MODEL = "model"
Kept: TypeAlias = dict[str, object]
"""What an optimizer of torch keeps of a parameter or a group: tensors and JSON values, by name."""


class OptimizerValues(TypedDict, total=False):
    """What is saved of an optimizer as JSON: values of each group, and of each parameter by its number."""

    groups: list[dict[str, Json]]
    state: dict[str, dict[str, Json]]


class Stateful:
    """Base of the parts of a run that are saved and restored."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors to save, by name."""
        return {}

    def values(self) -> JsonObject:
        """Return the values to save as JSON; numbers must be finite."""
        return {}

    def restore(self, tensors: dict[str, Tensor], values: JsonObject) -> None:
        """Restore the saved tensors and values; by default, set the attribute of each value."""
        for name, value in values.items():
            setattr(self, name, value)


@dataclass
class ModelState(Stateful):
    """The weights; shared weights are saved once."""

    model: nn.Module

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def restore(self, tensors: dict[str, Tensor], values: JsonObject) -> None:
        """Restore the weights."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(tensors[name])


@dataclass
class OptimizerState(Stateful):
    """The optimizer's state of each parameter, by the parameter's number, and the values of each group."""

    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of parameters with names such as `3.exp_avg`, those of groups as `group.0.rate`."""
        state, groups = self._parts()
        named = {f"{number}.{name}": value for number, part in state.items() for name, value in part.items()}
        named |= {
            f"group.{number}.{name}": value for number, group in enumerate(groups) for name, value in group.items()
        }
        return {name: value for name, value in named.items() if isinstance(value, Tensor)}

    def values(self) -> JsonObject:
        """Return everything else: the values of each group, and those of parameters, such as counts of steps."""
        state, groups = self._parts()
        counts = {str(number): _plain(part) for number, part in state.items() if _plain(part)}
        return {"groups": [_plain(group) for group in groups]} | ({"state": counts} if counts else {})

    def restore(self, tensors: dict[str, Tensor], values: JsonObject) -> None:
        """Restore tensors and values. A checkpoint of calque 0.1.0 has no values, so groups stay as they were built."""
        # The hash of the checkpoint has been verified, so these are the values that `values` returned.
        saved = cast(OptimizerValues, values)
        state: dict[int, Kept] = {int(number): dict(part) for number, part in saved.get("state", {}).items()}
        groups: list[Kept] = self.optimizer.state_dict()["param_groups"]
        for group, part in zip(groups, saved.get("groups", [{}] * len(groups)), strict=True):
            for name, value in part.items():
                if isinstance(value, list) and isinstance(group.get(name), tuple):
                    group[name] = tuple(value)
                else:
                    group[name] = value
        for key, tensor in tensors.items():
            place, name = key.split(".", 1)
            if place == "group":
                number, name = name.split(".", 1)
                groups[int(number)][name] = tensor
            else:
                state.setdefault(int(place), {})[name] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _parts(self) -> tuple[dict[int, Kept], list[Kept]]:
        """Return the state of parameters, and the groups without their parameters."""
        whole = self.optimizer.state_dict()
        groups = [{name: value for name, value in group.items() if name != "params"} for group in whole["param_groups"]]
        return whole["state"], groups


def _plain(part: Mapping[str, object]) -> dict[str, Json]:
    """Return the values that are not tensors; JSON has lists in place of tuples."""
    named = {name: value for name, value in part.items() if not isinstance(value, Tensor)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}
    return cast(dict[str, Json], plain)


@dataclass
class Position(Stateful):
    """The position of a run in the data: all updates so far, the epoch, and the updates of this epoch."""

    step: int = 0
    epoch: int = 0
    done: int = 0

    def values(self) -> JsonObject:
        """Return the three integers."""
        return asdict(self)


@dataclass
class Patience(Stateful):
    """The best validation, and the number of validations since."""

    best_score: float | None = None
    best_loss: float = float("inf")
    best_step: int = 0
    since: int = 0

    def judge(self, step: int, score: float, loss: float) -> bool:
        """Record a validation; return whether its score is the highest or, among equal scores, its loss the lowest."""
        if self.best_score is None or (score, -loss) > (self.best_score, -self.best_loss):
            self.best_score, self.best_loss, self.best_step, self.since = score, loss, step, 0
            return True
        self.since += 1
        return False

    def values(self) -> JsonObject:
        """Return the best validation and the count."""
        return asdict(self) if self.best_score is not None else {}


@dataclass
class Elapsed(Stateful):
    """The seconds of training, summed over all starts of a run."""

    seconds: float = 0.0

    def values(self) -> JsonObject:
        """Return the seconds."""
        return asdict(self)


@dataclass
class Completion(Stateful):
    """The reason why a run was complete, and its limits; with higher limits the run continues."""

    reason: str = ""
    limits: list[str | int] = field(default_factory=list)

    def values(self) -> JsonObject:
        """Return reason and limits."""
        return asdict(self)


class RandomState(Stateful):
    """The random generators of torch, which dropout uses."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of each generator."""
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def restore(self, tensors: dict[str, Tensor], values: JsonObject) -> None:
        """Restore the generators."""
        torch.set_rng_state(tensors["cpu"])
        if torch.cuda.is_available() and "cuda" in tensors:
            torch.cuda.set_rng_state(tensors["cuda"])


def take(parts: Mapping[str, Stateful]) -> Snapshot:
    """Return the state of all parts; the weights of the model are separate, because they have their own file."""
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
