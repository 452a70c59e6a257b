"""The commands that report: check, eval, info and recipe, for people and for programs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu
from toy_language import Finished, pairs, write_pairs

Command = Callable[..., Finished]


def write_faulty(folder: Path) -> Path:
    """Write ten lines with two blanks, one repeat, and one line without a tab."""
    rows = [*pairs(6), *pairs(1), ("one", ""), ("", "一")]
    lines = [f"{source}\t{target}" for source, target in rows]
    path = folder / "faulty.tsv"
    path.write_text("\n".join([*lines, "no tab here"]) + "\n", encoding="utf-8")
    return path


def test_check_counts_and_fixes(command: Command, tmp_path: Path) -> None:
    """Say what is wrong with its line; the clean copy holds the rest and is found clean."""
    data = write_faulty(tmp_path)
    done = command("check", data, "--fix", tmp_path / "clean.tsv")
    # Training would refuse the data as they are.
    assert done.code == 3, done.err
    assert "faulty.tsv:10" in done.out
    assert "1 pair with an empty target" in done.out
    kept = (tmp_path / "clean.tsv").read_text(encoding="utf-8").splitlines()
    assert kept == [f"{source}\t{target}" for source, target in dict.fromkeys(pairs(6))]
    again = json.loads(command("check", tmp_path / "clean.tsv", "--json").out)
    assert again["usable"] == again["pairs"] == len(kept)
    assert (again["bad_lines"], again["duplicate_pairs"]) == (0, 0)


def test_check_as_json_is_one_object(command: Command, tmp_path: Path) -> None:
    """Give programs the same counts, with those of the fix."""
    done = command("check", write_faulty(tmp_path), "--json", "--fix", tmp_path / "clean.tsv")
    report = json.loads(done.out)
    assert done.err == ""
    # Bad lines are no pairs.
    assert report["pairs"] == 9
    assert report["usable"] == 7
    assert report["bad_lines"] == 1
    assert report["duplicate_pairs"] >= 1
    assert report["fixed"] == {"kept": 7 - report["duplicate_pairs"], "bad": 1, "blank": 2} | {
        "duplicates": report["duplicate_pairs"]
    }


def test_check_against_a_test_set(command: Command, tmp_path: Path) -> None:
    """Count the sources of the test set that are in the training data."""
    train, test = write_pairs(tmp_path / "train.tsv", 40), write_pairs(tmp_path / "test.tsv", 25)
    report = json.loads(command("check", train, "--against", test, "--json").out)
    assert report["overlap"]["same_pair"] == report["overlap"]["pairs"] == 25
    missing = command("check", train, "--against", tmp_path / "tset.tsv")
    assert missing.code == 2
    assert '"test.tsv"' in missing.err


def test_fix_never_overwrites_the_data(command: Command, tmp_path: Path) -> None:
    """Refuse to write the clean copy over its own source."""
    data = write_faulty(tmp_path)
    before = data.read_bytes()
    assert command("check", data, "--fix", data).code == 2
    assert data.read_bytes() == before


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a test set whose target text has blanks between its characters, so that tokenizers differ on it."""
    path = tmp_path_factory.mktemp("held") / "test.en-zh.tsv"
    rows = [(source, target + ("!" if number % 3 else ", ok.")) for number, (source, target) in enumerate(pairs(50, 9))]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("tokenize", ["", "none", "13a"])
def test_eval_gives_the_scores_of_sacrebleu(tokenize: str, toy_model: Path, held_out: Path, command: Command) -> None:
    """Agree with sacrebleu on the lines that `generate` writes, and sign with its tokenizer."""
    rows = [line.split("\t") for line in held_out.read_text(encoding="utf-8").splitlines()]
    sources = "".join(f"{source}\n" for source, _ in rows).encode()
    outputs = command("generate", toy_model, "--threads", 1, stdin=sources).out.split("\n")[:-1]
    metrics = ["--metric", "bleu", "--metric", "chrf"]
    options = ["--tokenize", tokenize] if tokenize else []
    done = command("eval", toy_model, held_out, *metrics, *options, "--json", "--threads", 1)
    scores = {score["name"]: score for score in json.loads(done.out)["scores"]}
    references = [[target for _, target in rows]]
    expected = sacrebleu.corpus_bleu(outputs, references, tokenize=tokenize or "zh", force=True)
    assert scores["bleu"]["value"] == pytest.approx(expected.score, abs=1e-6)
    assert scores["chrf"]["value"] == pytest.approx(sacrebleu.corpus_chrf(outputs, references).score, abs=1e-6)
    assert f"tok:{tokenize or 'zh'}|" in scores["bleu"]["signature"]
    assert scores["bleu"]["low"] <= scores["bleu"]["value"] <= scores["bleu"]["high"]


def test_eval_for_a_person_names_each_score(toy_model: Path, toy_data: Path, command: Command, tmp_path: Path) -> None:
    """Print a line a metric, with its interval and signature; the exact share is that of equal lines."""
    data = tmp_path / "few.tsv"
    rows = toy_data.read_text(encoding="utf-8").splitlines()[:20]
    data.write_text("\n".join(rows) + "\n", encoding="utf-8")
    done = command("eval", toy_model, data, "--metric", "exact", "--metric", "cer", "--threads", 1)
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["exact", "cer"]
    outputs = command("generate", toy_model, *[row.split("\t")[0] for row in rows], "--threads", 1).out.splitlines()
    share = 100 * sum(row.split("\t")[1] == output for row, output in zip(rows, outputs, strict=True)) / len(rows)
    assert f" {share:.2f} " in done.out


@pytest.mark.parametrize(("option", "meant"), [(("--metric", "bluu"), "bleu"), (("--tokenize", "nnoe"), "none")])
def test_eval_refuses_unknown_names(
    option: tuple[str, str], meant: str, toy_model: Path, toy_data: Path, command: Command
) -> None:
    """Name what was meant."""
    done = command("eval", toy_model, toy_data, *option)
    assert done.code == 2
    assert f'"{meant}"' in done.err


def test_info_tells_what_the_folder_holds(toy_model: Path, command: Command) -> None:
    """Give the same facts to people and programs."""
    facts = json.loads(command("info", toy_model, "--json").out)
    assert facts["languages"] == "en → zh"
    assert facts["status"] == "finished"
    assert facts["parameters"] > 10_000
    lines = command("info", toy_model).out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == list(facts)
    assert all(line.endswith(str(value)) for line, value in zip(lines, facts.values(), strict=True))


def test_recipe_explains_every_field(command: Command) -> None:
    """Print key, default and help of each field; a key narrows it down to a section or one field."""
    everything = json.loads(command("recipe", "--json").out)
    assert all(row["help"] for row in everything.values())
    section = json.loads(command("recipe", "train", "--json").out)
    assert section.keys() == {key for key in everything if key.startswith("train.")}
    one = command("recipe", "train.lr").out.splitlines()
    assert one[0] == f"train.lr = {everything['train.lr']['default']}"
    assert one[1].strip() == everything["train.lr"]["help"]


def test_eval_takes_the_columns_of_the_training(toy_model: Path, command: Command, tmp_path: Path) -> None:
    """Read a table by the names that the model was trained with, with the scores of the same pairs as TSV."""
    folder = Path(shutil.copytree(toy_model, tmp_path / "model"))
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    recipe["data"]["columns"] = {"source": "asked", "target": "answered"}
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    rows = pairs(20)
    named = tmp_path / "named.csv"
    named.write_text("\n".join(["asked,answered", *(f"{one},{other}" for one, other in rows)]), encoding="utf-8")
    plain = write_pairs(tmp_path / "plain.tsv", 20)
    found = json.loads(command("eval", folder, named, "--json", "--threads", 1).out)
    expected = json.loads(command("eval", toy_model, plain, "--json", "--threads", 1).out)
    assert found["scores"] == expected["scores"]
