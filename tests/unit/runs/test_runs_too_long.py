"""The notice about pairs that are too long names all of them, or says how many more there are."""

import re
from pathlib import Path

import pytest
from toy_language import BRIEF, train_command, write_pairs

from calque.cli.main import main


@pytest.mark.slow
def test_pairs_that_are_too_long_are_counted_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Add the pairs that are named to those that are not: they are all that were left out."""
    data = write_pairs(tmp_path / "digits.tsv", 200)
    with pytest.raises(SystemExit):
        main(train_command(data, tmp_path / "run", (*BRIEF, "data.max_length=3")))
    told = capsys.readouterr().err.replace("\n", " ")
    found = re.search(
        r"([\d,]+) of [\d,]+ pairs have more than \d+ tokens.*?\(training pairs ([\d, ]+?)(?: and ([\d,]+) more)?\)",
        told,
    )
    assert found, told
    named = len(found[2].split(", "))
    assert int(found[1].replace(",", "")) == named + int((found[3] or "0").replace(",", ""))
    assert found[3]
    assert "…" not in found[0]
