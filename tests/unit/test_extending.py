"""Do what docs/extending.md says, word for word, in a copy of calque: the parts of the page must keep the laws."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from layer_rules import check_budgets

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCK = r"```python\n(.*?)```"
MAX_LINES = 150

# What the page tells to do, in the words that it uses.
NEW_FILES = re.findall(r"is the file `([\w/.]+)`:\n\n" + BLOCK, PAGE, flags=re.DOTALL)
NEW_LINES = re.findall(
    r"in `([\w/.]+)`, the union `(\w+)` gets `\| (\w+)`, beside its import:\n\n" + BLOCK, PAGE, flags=re.DOTALL
)
LISTED = re.findall(r"\bjoins `(\w+)`:\n\n" + BLOCK, PAGE, flags=re.DOTALL)
TASKS = re.findall(r"is the task `([\w/.]+)`:\n\n" + BLOCK, PAGE, flags=re.DOTALL)
PROGRAMS = re.findall(r"is the program\s`([\w/.]+)`:\n\n" + BLOCK, PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"^calque (.*)$", PAGE, flags=re.MULTILINE)


def insert(path: Path, after: str, text: str) -> None:
    """Put text behind the one place in a file that a pattern finds."""
    content = path.read_text(encoding="utf-8")
    (found,) = re.finditer(after, content, flags=re.MULTILINE)
    path.write_text(content[: found.end()] + text + content[found.end() :], encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with calque and its laws, extended as the page says."""
    folder = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("calque", "tests/laws", "tests/network_guard"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/toy_language.py", "tests/wanted.py"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in NEW_FILES:
        assert not (folder / name).exists()
        (folder / name).write_text(text, encoding="utf-8")
    for name, union, member, line in NEW_LINES:
        insert(folder / name, r"\A(?s:.*)^from calque\.[^\n(]*\n", line)
        insert(folder / name, rf"^{union} = Annotated\[\s*", f"{member} | ")
    for axis, line in LISTED:
        insert(folder / "tests" / "laws" / "parts.py", rf"^{axis}: [^\n]* = {{\n", line)
    (folder / "pairs.tsv").write_text("".join(f"say {n}\tsag {n}\n" for n in range(60)), encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> str:
    """Run Python on the extended calque and return what it said."""
    paths = os.pathsep.join([str(folder), str(folder / "tests" / "network_guard")])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_a_whole_example_of_each() -> None:
    assert [name for name, _ in NEW_FILES] == [
        "calque/nn/attention/cosine.py",
        "calque/nn/convolution.py",
        "calque/training/objectives/r_drop.py",
        "calque/training/optimizers/averaged.py",
    ]
    assert [(name, union) for name, union, _, _ in NEW_LINES] == [
        ("calque/nn/attention/kinds.py", "AttentionConfig"),
        ("calque/model.py", "EncoderConfig"),
        ("calque/training/objectives/kinds.py", "ObjectiveConfig"),
        ("calque/training/optimizers/kinds.py", "OptimizerConfig"),
    ]
    assert [axis for axis, _ in LISTED] == ["ATTENTIONS", "ENCODERS"]
    # Nothing that the page tells to write is left out here.
    found = (NEW_FILES, NEW_LINES, LISTED, TASKS, PROGRAMS)
    assert len(re.findall(BLOCK, PAGE, flags=re.DOTALL)) == sum(map(len, found))
    for _, _, member, line in NEW_LINES:
        assert line.count("\n") == 1
        assert line.endswith(f"import {member}\n")
        assert any(f"class {member}(" in text for _, text in NEW_FILES)


@pytest.mark.parametrize(("name", "text"), NEW_FILES, ids=[name for name, _ in NEW_FILES])
def test_a_part_is_one_small_file_that_keeps_the_rules_of_the_house(name: str, text: str, tmp_path: Path) -> None:
    module = name.removesuffix(".py").replace("/", ".")
    assert len(text.splitlines()) <= MAX_LINES
    assert check_budgets(module, text) == []
    # The linter sees the file at its place in the package, so that it sorts the imports correctly.
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", name, "-"],
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_parts_of_the_page_keep_the_laws(extended: Path) -> None:
    """Run the laws' own tests: forward and step, alone and in a batch, gradients, search, a step of training."""
    laws = [f"tests/laws/test_laws_{name}.py" for name in ("parts", "search", "training")]
    said = run(
        extended,
        "-m",
        "pytest",
        "-rp",
        *laws,
        "-m",
        "not slow",
        "-k",
        "cosine or convolution or unions or r_drop or averaged_adam",
    )
    passed = re.findall(r"^PASSED \S+::(test_\w+)(?:\[(.*)\])?$", said, flags=re.MULTILINE)
    for part in ("cosine", "convolution"):
        kept = {law for law, case in passed if part in re.split(r"[+-]", case)}
        assert kept >= {
            "test_forward_equals_the_scan_of_step",
            "test_alone_equals_in_a_batch",
            "test_a_gradient_reaches_every_parameter",
            "test_a_row_that_joins_later_scores_as_alone",
            "test_a_beam_as_wide_as_the_space_finds_the_optimum",
        }
    assert ("test_every_attention_builds_from_its_defaults", "cosine") in passed
    assert ("test_every_encoder_and_decoder_builds_from_its_defaults", "lstm-convolution") in passed
    assert ("test_the_unions_are_as_known", "") in passed
    for precision in ("fp32", "bf16"):
        assert ("test_every_optimizer_trains_from_its_defaults", f"{precision}-averaged_adam") in passed
        assert ("test_every_objective_trains_from_its_defaults", f"{precision}-r_drop") in passed


def test_the_commands_of_the_page_know_the_parts(extended: Path) -> None:
    recipe, train = COMMANDS
    start = "import sys; from calque.cli.main import main; main(sys.argv[1:])"
    said = run(extended, "-c", start, *recipe.split())
    assert ".attention[cosine].temperature = 0.1\n" in said
    planned = run(extended, "-c", start, *train.split(), "--dry-run")
    for kind in ("convolution", "cosine"):
        assert f'"{kind}"' in planned


def test_the_task_of_the_page_reads_its_data_and_sets_its_defaults(extended: Path) -> None:
    """Plan a run on a glossary, which calque itself does not read."""
    ((name, text),) = TASKS
    (extended / name).write_text(text, encoding="utf-8")
    (extended / "words.txt").write_text("".join(f"word{n} = the meaning {n}\n" for n in range(60)), encoding="utf-8")
    start = "import sys; from calque.cli.main import main; main(sys.argv[1:])"
    planned = json.loads(run(extended, "-c", start, "train", "words.txt", "--task", name, "--dry-run", "--quiet"))
    assert planned["task"]["kind"] == "glossary"
    assert planned["task"]["metrics"] == ["chrf", "exact"]
    assert planned["task"]["own"]["file"] == name
    assert (planned["text"]["target"]["kind"], planned["search"]["beam"]) == ("word", 3)


def test_the_choose_of_the_page_samples_with_its_seed(extended: Path, toy_model: Path) -> None:
    """Sample twice: the same seeds give the same answers, and different seeds give different ones."""
    ((name, text),) = PROGRAMS
    (extended / name).write_text(text, encoding="utf-8")
    first, second = (run(extended, name, str(toy_model), "one two three four") for _ in range(2))
    assert first == second
    assert len(first.splitlines()) == 5
    assert len(set(first.splitlines())) > 1
