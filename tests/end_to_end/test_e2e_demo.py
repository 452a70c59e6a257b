"""`calque demo` as it is shown to everyone: minutes from nothing to a translator."""

import json
import os
from pathlib import Path

import pytest
from toy_language import finish, start


@pytest.mark.slow
def test_the_demo_translates_what_it_never_saw(tmp_path: Path) -> None:
    """Reach 95 % exact on unseen combinations, in an empty folder without network, and end with three commands."""
    cores = os.sched_getaffinity(0)
    # One core, and so one thread: two threads beside another busy process mostly wait for each other.
    os.sched_setaffinity(0, {max(cores)})
    try:
        process = start("demo", cwd=tmp_path)
    finally:
        os.sched_setaffinity(0, cores)
    done = finish(process, seconds=3600)
    assert done.code == 0, done.err
    folder = tmp_path / "runs/demo"
    found = done.out.partition("unseen sentences: exact ")[2].split()[0]
    assert float(found) >= 95.0
    assert done.out.count("  calque ") == 3
    assert "<svg" in (folder / "attention.html").read_text(encoding="utf-8")
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "finished"
    train, unseen = (
        {line.split("\t")[0] for line in (folder / name).read_text(encoding="utf-8").splitlines()}
        for name in ("phrases.en-zh.tsv", "unseen.en-zh.tsv")
    )
    assert not train & unseen
