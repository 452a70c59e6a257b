"""Who may import whom, and how long things may be; and that each check sees a breach."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from layer_rules import MAX_LINES, check_budgets, closure, sources

ROOT = Path(__file__).parents[2]
TEXTS = sources(ROOT)


def test_sources_in_c_keep_to_the_budget() -> None:
    """Hold them to the length of a file and the width of a line, which ruff does not see."""
    kernels = [path for path in (ROOT / "calque").rglob("*") if path.suffix in (".c", ".h")]
    assert kernels
    for path in kernels:
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= MAX_LINES, path.name
        assert not [number for number, line in enumerate(lines, start=1) if len(line) > 120], path.name


def test_the_package_keeps_its_budgets() -> None:
    assert len(TEXTS) > 50
    assert [complaint for module, text in TEXTS.items() for complaint in check_budgets(module, text)] == []


def test_the_order_of_the_rooms_is_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("text/pair.py", "from calque.data import split"),
        ("text/pair.py", "def late():\n    import torch"),
        ("search/steps.py", "import calque.model"),
        ("predict/predictor.py", "from calque.training.run import Run"),
        ("system/files.py", "from calque.batch import Batch"),
        ("novelty.py", ""),
    ],
)
def test_an_import_of_a_higher_room_is_seen(module: str, line: str, tmp_path: Path) -> None:
    """Break the package in a copy; a module that is in no room counts too."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "calque", tmp_path / "calque", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "calque" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert ("novelty" if module == "novelty.py" else "BROKEN") in done.stdout


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the package in `folder`."""
    command = Path(sys.executable).parent / "lint-imports"
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [command, "--no-logo", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_starts_without_what_is_heavy() -> None:
    reached = closure("calque.cli.main", TEXTS)
    assert "typer" in reached
    heavy = ("pydantic", "torch", "calque.recipe", "calque.api")
    assert not [name for name in reached if name.startswith(heavy)]


def test_a_heavy_import_through_another_module_is_seen() -> None:
    texts = {
        "calque.__init__": "",
        "calque.cli.__init__": "",
        "calque.cli.main": "from calque.system import files",
        "calque.system.__init__": "",
        "calque.system.files": "import torch",
    }
    assert "torch" in closure("calque.cli.main", texts)
    assert "torch" not in closure("calque.cli.main", texts | {"calque.system.files": "def b():\n    import torch"})


def test_text_and_metrics_run_without_torch() -> None:
    rooms = ("text", "metrics", "errors", "cli.main", "demo.phrasebook")
    names = [
        name for module in TEXTS if (name := module.removesuffix(".__init__")).removeprefix("calque.").startswith(rooms)
    ]
    assert len(names) > len(rooms)
    program = f"import sys, {', '.join(names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_what_is_too_long_is_seen() -> None:
    long_function = "def f():\n" + "    x = 1\n" * 60
    many = ", ".join(f"a{number}" for number in range(9))
    assert len(check_budgets("calque.model", "x = 1\n" * 301)) == 1
    assert check_budgets("calque.model", "x = 1\n" * 300) == []
    assert len(check_budgets("calque.model", f"class A:\n    def f(self, {many}): ...")) == 1
    assert check_budgets("calque.model", f"class A:\n    def f(self, {many.removesuffix(', a8')}): ...") == []
    assert check_budgets("calque.cli.main", f"def f({many}): ...") == []
    assert len(check_budgets("calque.model", long_function)) == 1
    assert check_budgets("calque.model", long_function.removesuffix("    x = 1\n")) == []


def test_no_room_has_the_name_of_a_verb() -> None:
    """A module of such a name would hide the function."""
    rooms = {path.stem for path in (ROOT / "calque").iterdir()}
    assert not rooms & {"train", "load", "evaluate", "check"}
