"""For all tests: no network, one thread, the real data where it is there, and one small model trained once."""

import importlib
import os
import runpy
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from toy_language import LEARNING, Finished, train_command, write_pairs
from wanted import wanted

# They take minutes each and come first, so that nobody waits for them at the end.
LONGEST = (
    "test_the_demo_translates_what_it_never_saw",
    "test_blocks_run_as_written",
    "test_three_times_the_text_takes_as_much_memory",
    "test_20000_lines_are_answered_as_alone",
)
GUARD = Path(__file__).parent / "network_guard"
ROOT = Path(__file__).parent.parent

# Processes that tests start are guarded as this one is, and find the calque that is tested.
os.environ["PYTHONPATH"] = os.pathsep.join([str(GUARD), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("OMP_NUM_THREADS", "1")
runpy.run_path(str(GUARD / "sitecustomize.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, the others in their order."""
    items.sort(key=lambda item: item.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C end tests and the processes that they start, also where a shell ignores it for background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def calque_data() -> Path:
    """Return the folder of real data that CALQUE_DATA names; without it CI fails, and a person's run skips."""
    folder = Path(os.environ.get("CALQUE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"no real data in {folder}; name the folder with CALQUE_DATA"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def compiler() -> None:
    """Go on where there is a C compiler; without one CI fails, and a person's run skips."""
    from calque.engines.compiled.compiler import find_compiler
    from calque.errors import ResourceError

    try:
        find_compiler()
    except ResourceError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def ctranslate2() -> ModuleType:
    """Return CTranslate2, which imports transformers if it is installed."""
    wanted("ctranslate2")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("ctranslate2")


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Finished]:
    """Return a call of the command line in this process: arguments and bytes of standard input → code and output."""
    from calque.cli.main import main

    def call(*arguments: object, stdin: bytes = b"") -> Finished:
        source = tmp_path / "standard-input"
        source.write_bytes(stdin)
        capsys.readouterr()
        with source.open(encoding="utf-8") as stream:
            monkeypatch.setattr(sys, "stdin", stream)
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Finished(ended.value.code, written.out, written.err)

    return call


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 600 pairs of the toy language."""
    return write_pairs(tmp_path_factory.mktemp("toy") / "digits.en-zh.tsv", 600)


@pytest.fixture(scope="session")
def toy_model(toy_data: Path) -> Path:
    """Return the folder of a model that has learned the toy language nearly whole; tests only read it."""
    from calque.cli.main import main

    folder = toy_data.parent / "digits"
    with pytest.raises(SystemExit) as ended:
        main([*train_command(toy_data, folder, LEARNING), "--quiet"])
    assert ended.value.code == 0
    return folder
