"""Names that users and their files rely on, compared with tests/frozen/.

To change one on purpose, run this file once with CALQUE_RENEW_FROZEN=1 in the environment, look at the difference in
version control, and say in CHANGELOG.md what users have to change.
"""

import os
from pathlib import Path

import pytest
import typer

import calque
from calque.catalog import ARCHITECTURES, architecture
from calque.cli.main import app
from calque.model import ModelConfig, build

FROZEN = Path(__file__).parent.parent / "frozen"


def compare(name: str, lines: list[str]) -> None:
    """Hold `lines` to the stored ones, or store them where that was asked for."""
    path = FROZEN / name
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("CALQUE_RENEW_FROZEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing; CALQUE_RENEW_FROZEN=1 writes it"
    stored = path.read_text(encoding="utf-8").splitlines()
    gone, new = sorted(set(stored) - set(lines)), sorted(set(lines) - set(stored))
    assert not gone, f"users rely on {gone}; on purpose: CALQUE_RENEW_FROZEN=1"
    assert not new, f"not stored yet: {new}; CALQUE_RENEW_FROZEN=1 stores them"
    assert stored == lines


def test_the_options_of_every_command() -> None:
    """Keep verbs, arguments, options and their short forms."""
    root = typer.main.get_command(app)
    commands = {"calque": root, **{f"calque {name}": verb for name, verb in sorted(root.commands.items())}}  # type: ignore[attr-defined]
    lines = []
    for name, verb in commands.items():
        for parameter in sorted(verb.params, key=lambda parameter: (parameter.param_type_name, parameter.name)):
            spelt = ", ".join(sorted([*parameter.opts, *parameter.secondary_opts]))
            lines.append(f"{name}: {parameter.param_type_name} {spelt}")
    assert len(lines) > 40
    compare("command_line.txt", lines)


def test_the_public_names() -> None:
    """Keep what `import calque` offers."""
    assert all(hasattr(calque, name) for name in calque.__all__)
    compare("public_names.txt", sorted(calque.__all__))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_the_names_of_weights(name: str) -> None:
    """Keep the names of each architecture's weights: stored models are read by them."""
    model = build(ModelConfig.model_validate(architecture(name, "tiny")), 37, 41)
    lines = sorted(key for key, _ in model.named_parameters())
    compare(f"weights_{name}.txt", lines)
