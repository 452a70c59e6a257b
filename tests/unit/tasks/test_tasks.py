"""Tasks as records: those of calque, and one that a user writes in a file."""

import json
import re
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, train_command, write_pairs

from calque import api
from calque.errors import UsageError
from calque.folder.recipe_file import read_sections
from calque.report.progress import SilentDisplay
from calque.runs.prepare import plan
from calque.runs.request import Named, make_request
from calque.tasks.from_file import find_task
from calque.tasks.kinds import TaskConfig, recorded, task_metrics
from calque.tasks.table import TASKS

ROOT = Path(__file__).parents[3]
# Pairs with " = " between the sides, which calque itself does not read.
DEFINITIONS = """
from calque.data.files.formats import Example
from calque.data.files.lines import open_lines
from calque.data.files.readers import Dataset
from calque.errors import DataError
from calque.tasks.task import Labels, Task


def read(paths, columns, spool=None):
    files = [open_lines(path, spool) for path in paths]

    def examples():
        for number, line in enumerate(files[0].lines(), start=1):
            source, equals, target = line.partition(" = ")
            bad = DataError("no ' = '", files[0].name, number)
            yield Example(source, (target,), number) if equals else bad

    return Dataset("definitions", "definitions", files, examples, columns)


TASK = Task(
    name="definitions",
    metrics=("cer", "exact"),
    text={"normalise": "none"},
    model={"decoder": {"layers": 2}},
    search={"beam": 3},
    labels=Labels(output="Meaning"),
    read=read,
)
"""


def write_task(path: Path, content: str = DEFINITIONS) -> Path:
    """Write the file of a task."""
    path.write_text(content)
    return path


def write_definitions(path: Path, number: int) -> Path:
    """Write the toy language in the form that the task reads."""
    pairs = write_pairs(path.with_suffix(".tsv"), number)
    path.write_text(pairs.read_text().replace("\t", " = "))
    return path


def test_no_module_outside_tasks_names_a_task() -> None:
    """Keep names of tasks in `calque/tasks`, so that a new one is one file and its line in the table."""
    quoted = re.compile(rf"""["']({"|".join(TASKS)})["']|\b({"|".join(TASKS)}) or\b""")
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "calque").rglob("*.py")
        if "tasks" not in path.relative_to(ROOT).parts and quoted.search(path.read_text("utf-8"))
    ]
    assert found == []


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_task("translate")
    assert 'Did you mean "translation"?' in str(caught.value)
    assert all(name in str(caught.value) for name in TASKS)


def test_the_settings_of_a_task_lie_over_the_defaults_and_below_those_of_the_user(tmp_path: Path) -> None:
    """Lay text, model and search of the task between the defaults from the data and `--set`."""
    data = write_definitions(tmp_path / "x.txt", 60)
    task = str(write_task(tmp_path / "definitions.py"))
    named = Named("gru", "tiny", task, None)
    usual = Named("gru", "tiny", "translation", None)
    plain = make_request([str(data.with_suffix(".tsv"))], tmp_path / "run", usual, [])
    request = make_request([str(data)], tmp_path / "run", named, ["search.beam=7"])
    before, made = (plan(one, False, SilentDisplay()) for one in (plain, request))
    assert (before.text.normalise, made.text.normalise) == ("nfc", "none")
    assert (before.model.decoder.layers, made.model.decoder.layers) == (1, 2)
    assert made.text.source == before.text.source
    assert made.search.beam == 7
    assert [metric.name for metric in task_metrics(made.task)] == ["cer", "exact"]


def test_a_task_in_a_file_trains_and_answers_without_the_file(tmp_path: Path, command) -> None:
    """Read the data with the task's code, name its sides on the page, and record it by name and hash alone."""
    data = write_definitions(tmp_path / "x.txt", 60)
    task, run = write_task(tmp_path / "definitions.py"), tmp_path / "run"
    done: Finished = command(*train_command(data, run, BRIEF)[0:], "--task", task)
    assert done.code == 0, done.err
    page = (run / "report.html").read_text("utf-8")
    assert "Meaning" in page
    assert "Translation" not in page
    stored = read_sections(run)["task"]
    assert stored["kind"] == "definitions"
    assert stored["own"]["file"] == "definitions.py"
    assert str(tmp_path) not in json.dumps(stored)
    by_file = api.evaluate(run, data, task=task)
    task.write_text("raise SystemExit('run at load')")
    model = api.load(run)
    assert isinstance(model("one two"), str)
    with pytest.raises(UsageError, match=r'task="definitions.py"'):
        api.evaluate(model, data)
    refused: Finished = command("eval", run, data)
    assert (refused.code, refused.out) == (2, "")
    assert "--task definitions.py" in refused.err
    write_task(task)
    scored: Finished = command("eval", run, data, "--task", task, "--json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["scores"] == [score.as_dict() for score in by_file]
    together: Finished = command("eval", run, data, "--task", task, "--with", run, "--metric", "exact")
    assert (together.code, together.out.split()[0]) == (0, "exact"), together.err
    assert api.evaluate(model, data, task=str(task)) == by_file
    write_task(task, DEFINITIONS + "# another\n")
    with pytest.raises(UsageError, match="unchanged file"):
        api.evaluate(model, data, task=task)
    changed: Finished = command("eval", run, data, "--task", task)
    assert (changed.code, "unchanged file" in changed.err) == (2, True), changed.err
    again = command(*train_command(data, run, BRIEF), "--task", task)
    assert again.code == 2
    assert "task" in again.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("TASK = (", "line 1: SyntaxError"),
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError"),
        ("x = 1", "does not set TASK"),
        ("TASK = 'bleu'", "TASK is of type str"),
        ("from calque.tasks.task import Task\nTASK = Task('a b', ('bleu',))", "TASK.name"),
        ("from calque.tasks.task import Task\nTASK = Task('translation', ('bleu',))", "a task of calque"),
        ("from calque.tasks.task import Task\nTASK = Task('own', 'bleu')", "a tuple of names"),
        ("from calque.tasks.task import Task\nTASK = Task('own', ('blue',))", 'Did you mean "bleu"'),
        ("from calque.tasks.task import Task\nTASK = Task('own', ())", "TASK.metrics"),
        ("from calque.tasks.task import Task\nTASK = Task('own', ('bleu',), text=[1])", "TASK.text"),
        ("from calque.tasks.task import Task\nTASK = Task('own', ('bleu',), labels='x')", "TASK.labels"),
        ("from calque.tasks.task import Task\nTASK = Task('own', ('bleu',), read=3)", "TASK.read"),
    ],
)
def test_a_file_that_holds_no_task_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    """Name the file, the line or the field, and the problem."""
    path = tmp_path / "own.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        find_task(str(path))
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 6


def test_settings_that_the_recipe_does_not_have_are_refused(tmp_path: Path) -> None:
    """Report a wrong setting of a task as any other wrong setting."""
    data = write_pairs(tmp_path / "x.tsv", 60)
    content = "from calque.tasks.task import Task\nTASK = Task('own', ('bleu',), search={'beem': 3})"
    task = str(write_task(tmp_path / "own.py", content))
    request = make_request([str(data)], tmp_path / "run", Named("gru", "tiny", task, None), [])
    with pytest.raises(UsageError, match=r"search\.beem"):
        plan(request, False, SilentDisplay())


def test_a_recorded_task_needs_its_measures() -> None:
    """Refuse a record without them, which nothing but the file could supply."""
    own = {"file": "own.py", "sha256": "0" * 64}
    assert TaskConfig.model_validate({"kind": "own", "metrics": ["cer"], "own": own}).kind == "own"
    with pytest.raises(ValueError, match="metrics"):
        TaskConfig.model_validate({"kind": "own", "own": own})
    with pytest.raises(ValueError, match="no task 'own'"):
        TaskConfig(kind="own")
    assert [recorded(task) for task in TASKS.values()] == [{"kind": name} for name in TASKS]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ("translation", 0, ""),
        ("transduction", 2, "trained for translation"),
        ("translatoin", 2, 'Did you mean "translation"?'),
        ("no-such.py", 2, "no-such.py: No such file"),
        ("own.py", 2, "trained for translation"),
    ],
)
def test_eval_refuses_a_task_that_the_model_was_not_trained_for(
    given: str, code: int, message: str, toy_model: Path, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take the task of the model by its name, and refuse any other, a file and a misspelt name."""
    monkeypatch.chdir(tmp_path)
    write_task(tmp_path / "own.py", "from calque.tasks.task import Task\nTASK = Task('own', ('bleu',))")
    done: Finished = command("eval", toy_model, write_pairs(tmp_path / "x.tsv", 4), "--task", given)
    assert done.code == code, done.err
    assert message in done.err
    assert len(done.err.splitlines()) <= 6


def test_check_reads_data_with_the_code_of_a_task(tmp_path: Path, command) -> None:
    """Exit with 3 exactly where a run with that task would refuse the data."""
    data, task = write_definitions(tmp_path / "x.txt", 60), write_task(tmp_path / "definitions.py")
    assert command("check", data).code == 3
    found: Finished = command("check", data, "--task", task, "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["pairs"] == 60
    assert report == json.loads(json.dumps(api.check(data, task=task).as_dict()))
    against: Finished = command("check", data, "--task", task, "--against", data, "--json")
    assert json.loads(against.out)["overlap"]["same_pair"] > 0
    with data.open("a") as file:
        file.write("no sign of a meaning\n")
    bad: Finished = command("check", data, "--task", task)
    assert bad.code == 3
    assert "no ' = '" in bad.out
    refused: Finished = command("check", data, "--task", task, "--fix", tmp_path / "clean.tsv")
    assert refused.code == 2
    assert "--fix writes TSV, which the task definitions does not read" in refused.err
    assert not (tmp_path / "clean.tsv").exists()
    for wrong in ("no-such.py", "translatoin"):
        assert command("check", data, "--task", wrong).code == 2
