"""Hold the documents to the program: what they name exists, what exists is named, what they tell to run runs."""

import ast
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import forked_commands
import pytest
import typer

import calque
from calque.cli.main import app
from calque.errors import UsageError
from calque.recipe.layers import matching_fields, merge, read_settings, spread_text, validate
from calque.recipe.tree import Recipe

ROOT = Path(__file__).parents[2]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
COMMANDS = ROOT / "docs" / "commands.md"
PAGES = [README, CHINESE, ROOT / "CONTRIBUTING.md", *DOCS]
# Whoever extends calque writes Python that users need not: test_extending.py does what that page says.
FOR_USERS = [README, *(page for page in DOCS if page.name != "extending.md")]
GROUP: Any = typer.main.get_command(app)

# What a block may call besides calque: what sets up, and what handles files.
SET_UP = {"make", "pip", "python", "python3.11", "."}
FILE_TOOLS = {"cp", "cut", "head", "printf"}
SECTIONS = ("task", "data", "text", "model", "train", "search")
FILE_ENDINGS = (".safetensors", ".bin", ".onnx", ".json", ".jsonl", ".py", ".tsv", ".en", ".zh")

# Runs the same commands, but on fewer phrases, for four updates, with short answers: the documents are under test,
# not the training. Other verbs take their settings from the models, and need not wait for the library of models.
SHORTEN = """
import dataclasses, os, sys
os.sched_getaffinity = lambda process: {0}
train = {"max_updates": 4, "validate_every": 2, "save_every": 2, "validation_sentences": 8, "threads": 1}
search = {"beam": 1, "max_length_ratio": 0.2, "max_length_extra": 2}
if sys.argv[1:2] in ([], ["demo"], ["train"]):
    from calque import api
    from calque.demo import demo
    from calque.recipe.layers import merge
    from calque.runs import request as requests
    whole = requests.make_request
    def short(*arguments, **options):
        request = whole(*arguments, **options)
        return dataclasses.replace(request, settings=merge(request.settings, {"train": train, "search": search}))
    api.make_request = demo.make_request = requests.make_request = short
    demo.NUM_TRAIN, demo.NUM_TEST = 6_000, 60
"""


def read(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and content of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", read(page), flags=re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """Return the code spans in the prose of a page."""
    return re.findall(r"`([^`]+)`", prose(page))


def simple_commands(line: str) -> list[list[str]]:
    """Return the commands of a line of shell as words, without pipes and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in ("|", "&&", ";"):
            found.append([])
        elif word in (">", "<", ">>"):
            next(words)
        else:
            found[-1].append(word)
    return found


def shell_commands(page: Path) -> list[list[str]]:
    """Return every command in the shell blocks of a page."""
    lines = [line for language, block in blocks(page) if language == "sh" for line in block.splitlines()]
    return [command for line in lines for command in simple_commands(line)]


def options_of(command: Any) -> set[str]:
    """Return the options of a command as they are typed."""
    own = {name for parameter in command.params for name in parameter.opts if name.startswith("-")}
    return own | {"--help", "-h"}


def known_key(key: str) -> bool:
    """Return whether the recipe has a field or section of this name, `text.KEY` standing for both sides."""
    for name in (key, key.replace("text.", "text.source.", 1)):
        try:
            return bool(matching_fields(name))
        except UsageError:
            continue
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_blocks_name_what_exists(page: Path) -> None:
    """Parse every command by the program's own parser; know every other word that begins one."""
    commands = shell_commands(page)
    assert commands
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    for words in commands:
        assert words[0] in SET_UP | FILE_TOOLS | {"calque"}, words
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        if words[0] != "calque":
            continue
        if words[1].startswith("-"):
            assert set(words[1:]) <= options_of(GROUP), words
            continue
        assert words[1] in GROUP.commands, words
        context = GROUP.commands[words[1]].make_context(words[1], words[2:])
        for setting in context.params.get("settings") or []:
            assert known_key(setting.partition("=")[0]), words
            assert read_settings([setting])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_names_what_exists(page: Path) -> None:
    """Know the commands, options, recipe fields and files that the prose names."""
    everywhere = options_of(GROUP).union(*map(options_of, GROUP.commands.values()))
    for span in spans(page):
        verb = span.split()[1] if span.startswith("calque ") and len(span.split()) > 1 else ""
        assert not verb.islower() or not verb.isalpha() or verb in GROUP.commands, span
        if span.startswith(("calque", "-")):
            allowed = options_of(GROUP.commands[verb]) | options_of(GROUP) if verb in GROUP.commands else everywhere
            words = span.partition("|")[0].split()
            assert {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)} <= allowed, span
        if re.fullmatch(r"[a-z]+(\.[a-z_]+)+", span) and span.split(".")[0] in SECTIONS:
            assert span.endswith(FILE_ENDINGS) or known_key(span), span
    for link in re.findall(r"\]\(([^)#:]+)\)", prose(page)):
        assert (page.parent / link).is_file(), link


def test_every_option_is_documented() -> None:
    """Find in the section of each verb exactly its options."""
    sections = dict(re.findall(r"^## (calque[^\n]*)\n(.*?)(?=^## |\Z)", read(COMMANDS), flags=re.MULTILINE | re.DOTALL))
    verbs = {"calque": GROUP} | {f"calque {name}": command for name, command in GROUP.commands.items()}
    assert sections.keys() == verbs.keys()
    for name, command in verbs.items():
        cells = re.findall(r"^\| (`-[^|]*) \|", sections[name], flags=re.MULTILINE)
        documented = {option for cell in cells for option in re.findall(r"`(--?[a-z-]+)", cell)}
        assert documented == options_of(command), name


def test_both_readmes_are_one() -> None:
    """Find the same headings, blocks, tables, links and names in both languages."""
    for pattern in (r"^(#+) ", r"^\|(?: --- \|)+$", r"^<!-- .* -->$"):
        assert re.findall(pattern, read(README), re.MULTILINE) == re.findall(pattern, read(CHINESE), re.MULTILINE)
    assert blocks(README) == blocks(CHINESE)
    rows = [[line.count("|") for line in read(page).splitlines() if line.startswith("|")] for page in (README, CHINESE)]
    assert rows[0] == rows[1]
    links = [set(re.findall(r"\]\(([^)]+)\)", read(page))) for page in (README, CHINESE)]
    assert links[0] ^ links[1] == {README.name, CHINESE.name}
    assert set(spans(README)) == set(spans(CHINESE))


@pytest.mark.parametrize("page", FOR_USERS, ids=lambda page: page.name)
def test_python_blocks_use_public_names(page: Path) -> None:
    """Parse every block; what it takes from calque is public."""
    for language, block in blocks(page):
        assert language in ("sh", "python", "toml"), block
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            assert not isinstance(node, ast.ImportFrom), block
            if isinstance(node, ast.Import):
                assert [name.name for name in node.names] == ["calque"]
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "calque":
                assert node.attr in calque.__all__


def test_recipes_hold() -> None:
    """Validate every TOML block as a layer over the defaults."""
    found = [block for page in DOCS for language, block in blocks(page) if language == "toml"]
    assert found
    for block in found:
        layer = tomllib.loads(block)
        recipe = validate(merge(Recipe().model_dump(), spread_text(layer)))
        assert recipe.train.lr == layer["train"]["lr"]


def test_versions_agree() -> None:
    """constraints.txt pins every requirement of pyproject.toml, and torch as the README does."""
    lines = [line for line in read(ROOT / "constraints.txt").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = dict(line.lower().replace("_", "-").split("==") for line in lines)
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    assert {re.split(r"[><=\[]", name)[0].lower() for name in wanted} <= pinned.keys()
    for page in (README, CHINESE):
        assert f"pip install torch=={pinned['torch']}" in read(page)
    assert f"## {calque.__version__}" in read(ROOT / "CHANGELOG.md")


def test_every_room_is_described() -> None:
    """Find every room of calque in the table of CONTRIBUTING, each once."""
    table = read(ROOT / "CONTRIBUTING.md").split("| room of `calque/` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?`) \|", table, flags=re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    there = {
        path.stem for path in (ROOT / "calque").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(listed) == sorted(there - {"__init__"})


def run(command: list[str], folder: Path) -> None:
    """Run a command of the documents; fail with what it said."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    tools = folder.parent / "tools"
    before = filter(None, [os.environ.get("PYTHONPATH")])
    paths = {
        "PATH": os.pathsep.join([str(tools), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(tools), *before, str(ROOT)]),
    }
    done = subprocess.run(
        command, cwd=folder, env=os.environ | threads | paths, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


def _run_block(language: str, block: str, python: Path, folder: Path) -> None:
    """Run a block in `folder`, unless it only sets up."""
    words = {command[0] for line in block.splitlines() if language == "sh" for command in simple_commands(line)}
    if language == "python":
        run([str(python), "-c", f"import shorten\n{block}"], folder)
    elif language == "sh" and not words & SET_UP:
        # Each page starts from the demo's phrases; the first has made them.
        is_there = (folder / "runs/demo/manifest.json").exists()
        run(["bash", "-e", "-c", block.replace("calque demo\n", "") if is_there else block], folder)


@pytest.mark.slow
def test_blocks_run_as_written(tmp_path: Path) -> None:
    """Run every block of the README, then of each page, one after the other in what was an empty folder."""
    folder, tools = tmp_path / "empty", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    (tools / "shorten.py").write_text(SHORTEN)
    with forked_commands.start(tools) as python:
        start = f'exec {shlex.quote(str(python))} -c "import shorten; from calque.cli.main import main; main()" "$@"'
        (tools / "calque").write_text(f"#!/bin/sh\n{start}\n")
        (tools / "calque").chmod(0o755)
        for page in FOR_USERS:
            for language, block in blocks(page):
                _run_block(language, block, python, folder)
    assert (folder / "runs/pairs/model.safetensors").is_file()
    # Only a newline ends a line: an untrained model may well answer with what Python takes for another line end.
    counts = [(folder / name).read_bytes().count(b"\n") for name in ("answers.txt", "lines.txt")]
    assert counts[0] == counts[1] > 0
