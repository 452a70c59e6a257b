"""Promises of the model card: every fact is in it, commands can be run as printed, no text breaks the Markdown."""

import ast
import re
import shlex

import pytest

from calque.report.card import CardData, CardFacts, CardScore, model_card, size_text


def facts(text: str = "", folder: str = "runs/pairs") -> CardFacts:
    return CardFacts(
        name=f"pairs{text}",
        task=f"translation{text}",
        architecture=f"Transformer{text}",
        parameters=9_412_608,
        size_bytes=37_700_000,
        folder=folder,
        source_language=f"English{text}",
        target_language=f"Chinese{text}",
        vocabulary=f"8,000 pieces{text}",
        data=(
            CardData("training", f"pairs.tsv{text}", 29_000, "ab" * 32),
            CardData("test", "test.tsv", 1_000, "cd" * 32),
        ),
        scores=(
            CardScore("BLEU", 31.234, "test.tsv", (30.1, 32.4), f"nrefs:1|tok:zh{text}"),
            CardScore("chrF", 28, "t"),
        ),
        recipe={"train.seed": f"1{text}", f"model.kind{text}": "transformer"},
        machine=f"2 cores{text}",
        time="19 min",
        version="0.1.0",
        max_length=128,
        example=f"good morning{text}",
        licence=f"CC BY 4.0{text}",
    )


def test_every_fact_is_in_the_card() -> None:
    card = model_card(facts())
    for part in (
        "English",
        "Chinese",
        "9,412,608",
        "37.7 MB",
        "29,000",
        "ab" * 32,
        "31.23",
        "30.10 to 32.40",
        "tok:zh",
    ):
        assert part in card
    for part in ("28.00", "`train.seed`", "2 cores", "19 min", "0.1.0", "128", "CC BY 4.0", "8,000 pieces"):
        assert part in card
    assert not card.startswith("---"), "no YAML"


def test_a_card_of_bare_facts_says_what_is_not_known() -> None:
    card = model_card(CardFacts("m", "translation", "LSTM", 1, 4, "m"))
    for part in ("not given", "Nothing was recorded", "not scored", "no stated licence"):
        assert part in card
    assert "None" not in card
    assert "  \n" not in card


@pytest.mark.parametrize("folder", ["runs/pairs", "my runs/it's", 'a"b', "$(rm x)", "a```b", "a\\b", "-x"])
def test_the_commands_name_the_folder_as_it_is(folder: str) -> None:
    card = model_card(facts(folder=folder))
    shell, python = re.findall(r"^(`{3,})(?:sh|python)\n(.*?)\n\1$", card, re.S | re.M)
    assert shlex.split(shell[1]) == ["calque", "generate", folder, "good morning"]
    constants = [node.value for node in ast.walk(ast.parse(python[1])) if isinstance(node, ast.Constant)]
    assert folder in constants


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a|b", "](http://x)", "`` ` ``", "\n# heading\n", "**x**"]
)
def test_no_text_breaks_out_of_its_place(text: str) -> None:
    plain, card = model_card(facts("z")), model_card(facts(text))
    assert [line for line in card.splitlines() if line.startswith("#")][1:] == [
        line for line in plain.splitlines() if line.startswith("#")
    ][1:]
    outside_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", card, flags=re.S)
    assert not re.search(r"(?<!\\)<", outside_code)
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in card.splitlines() if line.startswith("|")]
    assert bars == [len(re.findall(r"(?<!\\)\|", line)) for line in plain.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (37_700_000, "37.7 MB")],
)
def test_sizes_are_read_easily(size: int, text: str) -> None:
    assert size_text(size) == text
