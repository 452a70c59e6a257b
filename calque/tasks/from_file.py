"""Find a task by name, or load one that a user wrote: a Python file that sets `TASK`.

The file is run only if the user names it. A model folder records its name and its hash, and never runs it.
"""

import hashlib
import traceback
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

from calque.errors import UsageError, did_you_mean, wrong_type
from calque.metrics.named import METRIC_NAMES
from calque.tasks.table import TASKS
from calque.tasks.task import Labels, Task

ENDING = ".py"
MAX_BYTES = 2**20
_SECTIONS = ("data", "text", "model", "train", "search")


def find_task(name: str | Path) -> Task:
    """Return the task of that name, or the one in a file; UsageError names the problem with it."""
    if not isinstance(name, str | Path):
        raise wrong_type("task", name, f"the name of a task, or the path of a FILE{ENDING}")
    name = str(name)
    if name in TASKS:
        return TASKS[name]
    if name.endswith(ENDING):
        return task_from_file(Path(name))
    hint = did_you_mean(name, TASKS)
    raise UsageError(f"no task {name!r}; there are {', '.join(TASKS)}, or a task of your own in a FILE{ENDING}.{hint}")


def task_from_file(path: Path) -> Task:
    """Run a file and return its `TASK`, with the file's name and hash; UsageError for a file without a task."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"--task {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"--task {path}: the file is larger than {MAX_BYTES:,} bytes; is it the file of a task?")
    module = ModuleType(f"calque_task_{path.stem}")
    module.__file__ = str(path)
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise UsageError(f"--task {path}: {_place(error, path)}{type(error).__name__}: {error}") from error
    task = getattr(module, "TASK", None)
    if not isinstance(task, Task):
        found = "the file does not set TASK" if task is None else f"TASK is of type {type(task).__name__}"
        raise UsageError(f"--task {path}: {found}; set TASK = Task(name=..., metrics=(...)) from calque.tasks.task")
    _check(task, path)
    return replace(task, file=path.name, sha256=hashlib.sha256(content).hexdigest())


def _place(error: BaseException, path: Path) -> str:
    """Return the line of the file where an error arose, as `line N: `."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: " if error.lineno else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"line {lines[-1]}: " if lines else ""


def _check(task: Task, path: Path) -> None:
    """Raise UsageError for a field of the task that calque cannot use."""

    def refuse(field: str, problem: str) -> UsageError:
        return UsageError(f"--task {path}: TASK.{field} {problem}")

    if not isinstance(task.name, str) or not task.name.isidentifier():
        raise refuse("name", f"must be a word of letters, digits and _; it is {task.name!r}")
    if task.name in TASKS:
        raise refuse("name", f"is {task.name!r}, a task of calque; choose another name")
    if isinstance(task.metrics, str) or not task.metrics:
        raise refuse("metrics", f'must be a tuple of names of metrics, such as ("exact",); it is {task.metrics!r}')
    for name in task.metrics:
        if name not in METRIC_NAMES:
            hint = did_you_mean(str(name), METRIC_NAMES)
            raise refuse("metrics", f"names {name!r}; there are {', '.join(METRIC_NAMES)}.{hint}")
    for section in _SECTIONS:
        if not isinstance(getattr(task, section), dict):
            raise refuse(section, f"must be a dictionary of settings; it is {getattr(task, section)!r}")
    if not isinstance(task.labels, Labels):
        raise refuse("labels", f"must be Labels(source, reference, output); it is {task.labels!r}")
    for label in fields(task.labels):
        if not isinstance(getattr(task.labels, label.name), str):
            raise refuse(f"labels.{label.name}", f"must be text; it is {getattr(task.labels, label.name)!r}")
    if not callable(task.read):
        raise refuse("read", f"must be a function of (paths, columns, spool); it is {task.read!r}")
