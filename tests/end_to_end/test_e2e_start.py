"""How calque starts, and that Python and the command line are one: same names, same defaults, no network."""

import inspect
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_language import BRIEF, Finished, train_command, write_pairs

import calque
from calque.cli import main as cli
from calque.errors import UsageError
from calque.recipe.layers import flatten, read_settings

# Not pydantic: newer versions of typer import it on their own.
HEAVY = {"torch", "numpy.linalg", "calque.recipe.tree", "sentencepiece", "sacrebleu", "matplotlib"}
# Ten times what is promised for an idle machine, so that a busy one does not fail; the promise is a benchmark's.
MOST_SECONDS = 3.0
START = """
import sys, time
start = time.perf_counter()
from calque.cli.main import main
try:
    main({arguments})
except SystemExit as ended:
    sys.stdout.flush()
    print()
    print(ended.code, time.perf_counter() - start, *sys.modules)
"""


def start(*arguments: str, cwd: Path | None = None) -> tuple[int, float, set[str], str]:
    """Run the command line in a new process; return exit code, seconds, imported modules and all other output."""
    script = START.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd, check=True)
    *rest, last = done.stdout.splitlines()
    code, seconds, *modules = last.split()
    return int(code), float(seconds), set(modules), "\n".join(rest) + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, "generate"),
        (["train", "--help"], 0, "--dry-run"),
        (["--version"], 0, calque.__version__),
        (["train", "no.tsv"], 2, "no.tsv"),
        (["train", "there.tsv", "--valid", "no.tsv"], 2, "no.tsv"),
        (["check", "no.tsv"], 2, "no.tsv"),
        (["generate", "no", "one"], 2, "no model folder"),
        (["eval", "no", "no.tsv"], 2, "no model folder"),
        (["info", "no"], 2, "no model folder"),
        (["generat"], 2, "generate"),
    ],
)
def test_help_and_bad_paths_answer_before_torch(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    """Import nothing heavy for an answer that does not need it."""
    write_pairs(tmp_path / "there.tsv", 3)
    found, seconds, modules, said = start(*arguments, cwd=tmp_path)
    assert found == code
    assert says in said
    assert modules & HEAVY == set()
    assert seconds < MOST_SECONDS
    assert [path.name for path in tmp_path.iterdir()] == ["there.tsv"]


def test_import_costs_nothing_and_verbs_stay_functions() -> None:
    """Import `calque` without torch; hand out the verbs, callable after all their modules are imported."""
    script = (
        "import sys, calque; assert 'torch' not in sys.modules; assert 'train' in dir(calque);"
        "import calque.training.run, calque.cli.main, calque.demo.demo, calque.data.check.dataset;"
        "assert all(callable(getattr(calque, name)) for name in calque.__all__ if name != '__version__');"
        "assert type(calque.train).__name__ == 'function'; print('held')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "held\n", done.stderr


def test_training_imports_neither_compiler_nor_plots(tmp_path: Path) -> None:
    """Reach the first update without what takes seconds to import and is not used."""
    data = write_pairs(tmp_path / "digits.tsv")
    code, _, modules, _ = start(*train_command(data, tmp_path / "run"))
    assert code == 0
    assert "torch.optim" in modules
    assert modules & {"torch._dynamo", "torch._inductor", "matplotlib", "scipy", "pandas"} == set()


def test_a_default_that_was_set_is_not_told(tmp_path: Path, command: Callable[..., Finished]) -> None:
    """Print what holds: for each field either the reason of its default, or that the user set it."""
    data = write_pairs(tmp_path / "digits.tsv")
    told = command("train", data, "--dry-run").err
    assert " epochs: " in told
    assert " threads: " in told
    options = ["--threads", "1", "--set", "train.max_epochs=3", "--set", "text.kind=character"]
    told = command("train", data, "--dry-run", *options).err
    for line in ("train.threads = 1", "train.max_epochs = 3", "text.kind = character"):
        assert f"{line}: set explicitly" in told
    for gone in (" epochs: ", " threads", " pieces"):
        assert gone not in told
    assert "learning rate" in told


def test_check_reads_the_columns_that_train_reads(tmp_path: Path, command: Callable[..., Finished]) -> None:
    """Take `data.columns` for both files and for the clean copy; Python takes them by name."""
    data, other = tmp_path / "articles.csv", tmp_path / "other.csv"
    data.write_text("id,body,title\n1,a long text,its title\n2,another text,\n")
    other.write_text("title,body\nanother title,a long text\n")
    columns = ["--set", "data.columns.source=body", "--set", "data.columns.target=title"]
    assert command("check", data).code == 3
    done = command("check", data, "--against", other, "--fix", tmp_path / "clean.tsv", "--json", *columns)
    # One pair is too few to train on.
    assert done.code == 3, done.err
    report = json.loads(done.out)
    assert (report["pairs"], report["usable"], report["overlap"]["same_source"]) == (2, 1, 1)
    assert (tmp_path / "clean.tsv").read_text() == "a long text\tits title\n"
    assert calque.check(data, other=other, columns={"source": "body", "target": "title"}).usable == 1
    with pytest.raises(UsageError, match="columns"):
        calque.check(data, columns={"sorce": "body"})


def test_python_takes_every_option_of_train(tmp_path: Path) -> None:
    """Accept each option of the command line under its name; where both spell a default out, it is one."""
    api = inspect.signature(calque.train).parameters
    options = inspect.signature(cli.train).parameters.keys() - {"data", "dry_run", "as_json"}
    assert {"valid", "test", "time", "seed", "threads", "config", "fresh", "quiet", "settings", "out"} <= options
    for name in sorted(options):
        default = inspect.signature(cli.train).parameters[name].default
        if name in api:
            assert api[name].default == default, name
        # The missing file is complained about, not the option.
        with pytest.raises(UsageError, match=r"no\.tsv"):
            calque.train(tmp_path / "no.tsv", **{name: default})
    with pytest.raises(TypeError, match="sede"):
        calque.train(tmp_path / "no.tsv", sede=1)


def test_python_trains_what_the_command_trains(tmp_path: Path, command: Callable[..., Finished]) -> None:
    """Write the same bytes from a call of three lines; the next call of either finds the run finished."""
    data = write_pairs(tmp_path / "digits.en-zh.tsv")
    values = flatten(read_settings(list(BRIEF)))
    model = calque.train(
        data, out=tmp_path / "python", model="gru", size="tiny", seed=3, threads=1, settings=values, quiet=True
    )
    arguments = ["--model", "gru", "--size", "tiny", "--seed", "3", "--threads", "1"]
    options = [part for value in BRIEF for part in ("--set", value)]
    assert command("train", data, "--out", tmp_path / "command", *arguments, *options).code == 0
    for name in ("model.safetensors", "recipe.json", "metrics.jsonl"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "command" / name).read_bytes(), name
    assert "is finished" in command("train", data, "--out", tmp_path / "python", *arguments, *options).err
    answer = command("generate", tmp_path / "command", "one two", "--threads", 1).out
    assert model("one two") + "\n" == answer
    assert calque.load(tmp_path / "command")(["one two", ""]) == [answer[:-1], ""]


def test_python_reports_what_the_commands_report(
    toy_model: Path, toy_data: Path, command: Callable[..., Finished]
) -> None:
    """Give the same scores and the same findings."""
    few = write_pairs(toy_data.parent / "few.tsv", 30, seed=4)
    shown = json.loads(command("eval", toy_model, few, "--json", "--threads", 1).out)["scores"]
    assert [score.as_dict() for score in calque.evaluate(toy_model, few)] == shown
    assert json.loads(command("check", few, "--json").out)["pairs"] == calque.check(few).pairs == 30


def test_no_test_reaches_the_network() -> None:
    """Block this process and those it starts; let connections to the machine itself through."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname(), timeout=10) as connection:
            assert connection.getpeername() == server.getsockname()
    with pytest.raises(RuntimeError, match="reach"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(RuntimeError, match="reach"):
        socket.getaddrinfo("calque.invalid", 443)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as post, pytest.raises(RuntimeError, match="reach"):
        post.sendto(b"x", ("192.0.2.1", 53))
    script = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "NetworkBlockedError" in done.stderr
