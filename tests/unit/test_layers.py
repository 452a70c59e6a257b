"""Who may import whom, and how long things may be; and that the checker itself sees a breach."""

import subprocess
import sys
from pathlib import Path

import pytest
from layer_rules import (
    LEVEL_OF,
    LIGHT_COMMAND_LINE,
    MAX_LINES,
    WITHOUT_TORCH,
    check_budgets,
    check_command_line,
    check_levels,
    check_torch,
    closure,
    sources,
)

ROOT = Path(__file__).parents[2]
TEXTS = sources(ROOT)


def complaints(check) -> list[str]:
    """Return what a rule says of the whole package."""
    return [complaint for module, text in TEXTS.items() for complaint in check(module, text)]


def test_sources_in_c_keep_to_the_budget() -> None:
    """Hold them to the length of a file and the width of a line, which ruff does not see."""
    kernels = [path for path in (ROOT / "calque").rglob("*") if path.suffix in (".c", ".h")]
    assert kernels
    for path in kernels:
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= MAX_LINES, path.name
        assert not [number for number, line in enumerate(lines, start=1) if len(line) > 120], path.name


@pytest.mark.parametrize("check", [check_levels, check_torch, check_command_line, check_budgets])
def test_the_package_keeps_the_rule(check) -> None:
    assert len(TEXTS) > 50
    assert complaints(check) == []


def test_nothing_that_must_do_without_torch_reaches_it() -> None:
    for module in TEXTS:
        if module.removeprefix("calque.").split(".")[0] in WITHOUT_TORCH:
            reached = closure(module.removesuffix(".__init__"), TEXTS)
            assert not any(name.split(".")[0] == "torch" for name in reached), (module, reached)


def test_the_command_line_starts_without_what_is_heavy() -> None:
    reached = closure("calque.cli", TEXTS)
    assert "typer" in reached
    assert not [name for name in reached if name.startswith((*LIGHT_COMMAND_LINE, "calque.api"))]


def test_text_and_metrics_run_without_torch() -> None:
    names = [
        module.removesuffix(".__init__")
        for module in TEXTS
        if module.removeprefix("calque.").split(".")[0] in (*WITHOUT_TORCH, "cli")
    ]
    assert len(names) > len(WITHOUT_TORCH)
    program = f"import sys, {', '.join(names)}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("calque.text.pair", "from calque.data import store"),
        ("calque.text.pair", "from calque import model"),
        ("calque.text.pair", "def late():\n    from calque.api import train"),
        ("calque.text.pair", "from ..model import build"),
        ("calque.text.__init__", "from ..model import build"),
        ("calque.text.pair", "import importlib\nimportlib.import_module('calque.nn.heads')"),
        ("calque.text.pair", "from calque import train"),
        ("calque.text.pair", "import calque"),
        ("calque.data.store", "from calque.nn.heads import SoftmaxHead"),
        ("calque.search.beam", "import calque.model"),
        ("calque.predict", "from calque.training.run import Run"),
        ("calque.predict", "from calque.report.card import CardData"),
        ("calque.rows", "from calque.batch import Batch"),
        ("calque.api", "from calque.cli import app"),
        (
            "calque.training.run",
            "if True:\n    try:\n        from calque.recipe import tree\n    except ImportError: pass",
        ),
        ("calque.model", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from calque.api import train"),
        ("calque.__init__", "from calque import api"),
        ("calque.__init__", "def other():\n    from calque import api"),
        ("calque.__init__", "def __getattr__(name):\n    from calque import model"),
        ("calque.novelty", ""),
    ],
)
def test_a_bad_import_is_seen(module: str, text: str) -> None:
    assert check_levels(module, text) != []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("calque.model", "from calque import catalog, rows\nfrom calque.nn.heads import SoftmaxHead"),
        ("calque.weights", "from calque.files import replacing"),
        ("calque.metrics.named", "from calque.text.tokenizer import EOS"),
        ("calque.data.survey", "from calque.text.scripts import dominant_script\nfrom . import readers"),
        ("calque.text.__init__", "from . import pair\nfrom .pair import TextPair"),
        ("calque.cli", "from calque import __version__\ndef verb():\n    from calque import api"),
        ("calque.__init__", "def __getattr__(name):\n    from calque import api"),
        ("calque.rows", "import torch\nimport numpy"),
    ],
)
def test_a_good_import_passes(module: str, text: str) -> None:
    assert check_levels(module, text) == []


@pytest.mark.parametrize("name", WITHOUT_TORCH)
@pytest.mark.parametrize(
    "text", ["import torch", "from torch import Tensor", "def f():\n    import torch.nn", "import safetensors.torch"]
)
def test_torch_in_a_part_without_it_is_seen(name: str, text: str) -> None:
    assert check_torch(f"calque.{name}", text) != []
    assert check_torch("calque.model", text) == []


def test_torch_through_another_module_is_seen() -> None:
    texts = {
        "calque.__init__": "",
        "calque.text.__init__": "",
        "calque.text.a": "from calque.files import b",
        "calque.files": "import torch",
    }
    assert "torch" in closure("calque.text.a", texts)
    assert "torch" not in closure("calque.text.a", texts | {"calque.files": "def b():\n    import torch"})


@pytest.mark.parametrize("text", ["import pydantic", "from calque.recipe.tree import Recipe", "import torch.nn"])
def test_a_heavy_import_of_the_command_line_is_seen(text: str) -> None:
    assert check_command_line("calque.cli", text) != []
    assert check_command_line("calque.cli", f"def verb():\n    {text}") == []


def test_what_is_too_long_is_seen() -> None:
    long_function = "def f():\n" + "    x = 1\n" * 60
    many = ", ".join(f"a{number}" for number in range(9))
    assert len(check_budgets("calque.model", "x = 1\n" * 301)) == 1
    assert check_budgets("calque.model", "x = 1\n" * 300) == []
    assert len(check_budgets("calque.model", f"class A:\n    def f(self, {many}): ...")) == 1
    assert check_budgets("calque.model", f"class A:\n    def f(self, {many.removesuffix(', a8')}): ...") == []
    assert check_budgets("calque.cli", f"def f({many}): ...") == []
    assert len(check_budgets("calque.model", long_function)) == 1
    assert check_budgets("calque.model", long_function.removesuffix("    x = 1\n")) == []


def test_each_part_has_its_level() -> None:
    """The table names every part there is, and no verb has the name of a module (which would hide it)."""
    parts = {name for module in TEXTS if (name := module.removeprefix("calque.").split(".")[0]) != "__init__"}
    assert parts <= LEVEL_OF.keys()
    assert not parts & {"train", "load", "evaluate", "check"}
