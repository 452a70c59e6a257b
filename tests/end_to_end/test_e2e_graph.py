"""Graphs from the file to the answer: trained on, resumed, asked by a pipe and Python, scored, refused when bad."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_language import Finished

import calque

Command = Callable[..., Finished]

PEOPLE = ("Mira Sol", "Tarn Oke", "Ivo Pell", "Lena Frost", "Odo Birk")
FACTS = {"lives in": ("Oldhaven", "North Quay", "Elmford"), "works as": ("baker", "sailor"), "owns": ("lute", "boat")}
BRIEF = (
    "train.precision=fp32",
    "train.device=cpu",
    "train.threads=1",
    "train.max_updates=4",
    "train.validate_every=2",
    "train.save_every=2",
    "train.batch_tokens=256",
    "search.beam=2",
    "search.max_length_ratio=0.5",
    "search.max_length_extra=2",
    "text.source.kind=word",
    "text.target.kind=word",
    "model.encoder.width=24",
    "model.decoder.width=24",
)


def facts(draws: random.Random) -> list[list[str]]:
    """Return one to three triples about one person."""
    person = draws.choice(PEOPLE)
    relations = draws.sample(sorted(FACTS), draws.randint(1, 3))
    return [[person, relation, draws.choice(FACTS[relation])] for relation in relations]


def told(triples: list[list[str]]) -> str:
    return f"{triples[0][0]} " + " and ".join(f"{relation} {thing}" for _, relation, thing in triples) + " ."


def as_graph(triples: list[list[str]]) -> dict[str, Any]:
    nodes = list(dict.fromkeys(end for start, _, other in triples for end in (start, other)))
    return {"nodes": nodes, "edges": [[nodes.index(start), nodes.index(end), label] for start, label, end in triples]}


def write(path: Path, count: int, seed: int) -> Path:
    """Write graphs in every form by turns, some with several right answers."""
    draws = random.Random(seed)
    lines = []
    for number in range(count):
        triples = facts(draws)
        graph, answer = as_graph(triples), told(triples)
        record: dict[str, Any] = {"source": graph, "target": [answer, told(triples[:1])]}
        if number % 3 == 1:
            record = {**graph, "target": answer}
        if number % 3 == 2:
            record = {"source": triples, "target": answer}
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(command: Command, data: Path, folder: Path, *settings: str) -> Finished:
    sets = [part for setting in (*BRIEF, *settings) for part in ("--set", setting)]
    return command("train", data, "--out", folder, *sets)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "graphs.jsonl", 90, seed=1)


def test_graphs_are_trained_on_resumed_and_answered(command: Command, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ended = train(command, data, folder)
    assert ended.code == 0, ended.err
    assert "model graph: the sources are graphs" in ended.err
    assert "source layout graph" in ended.err
    recipe = json.loads((folder / "recipe.json").read_text())
    assert recipe["model"]["encoder"]["kind"] == "graph_transformer"
    assert recipe["text"]["layout"]["kind"] == "graph"
    again = train(command, data, folder)
    assert "is finished" in again.err
    assert train(command, data, folder, "train.max_updates=6").code == 0
    # One graph a line, in any form; blank lines keep their place.
    given = facts(random.Random(7))
    lines = [json.dumps(as_graph(given)), "", json.dumps(given, indent=None), json.dumps(as_graph(given), indent=None)]
    answered = command("generate", folder, stdin=("\n".join(lines) + "\n").encode())
    assert answered.code == 0, answered.err
    answers = answered.out.split("\n")
    assert len(answers) == 5
    assert answers[0] == answers[2] == answers[3]
    assert answers[1] == ""
    # By Python, as a dictionary or as text.
    predictor = calque.load(folder)
    assert predictor(as_graph(given)) == predictor(lines[0]) == answers[0]
    assert predictor([lines[0], lines[1]]) == [answers[0], ""]
    scored = command("eval", folder, write(tmp_path / "test.jsonl", 6, seed=9), "--json")
    assert scored.code == 0, scored.err
    # A folder put together from two models is refused.
    text = folder / "text" / "text.json"
    text.write_text(text.read_text().replace('"levi": true,', '"levi": false,'))
    (folder / "text" / "labels.json").write_text('[\n"owns"\n]\n')
    mixed = command("generate", folder, lines[0])
    assert (mixed.code, mixed.out) == (2, "")
    assert "do not belong together, the kinds of edges differ" in mixed.err


@pytest.mark.parametrize(
    "settings",
    [
        ("model.encoder.kind=ggnn", "model.decoder.kind=gru", "model.head.kind=pointer", "text.copying=true"),
        ("model.encoder.kind=gat", "text.layout.levi=false", "text.layout.labels=2"),
        ("model.encoder.paths=2", "model.decoder.kind=lstm", "text.source.kind=character", "text.joint=false"),
        ("model.encoder.kind=lstm",),
    ],
    ids=["ggnn-pointer", "gat-labels", "transformer-characters", "linearised"],
)
def test_parts_mix(settings: tuple[str, ...], command: Command, data: Path, tmp_path: Path) -> None:
    ended = train(command, data, tmp_path / "run", *settings)
    assert ended.code == 0, ended.err
    answered = command("generate", tmp_path / "run", json.dumps(as_graph([["Mira Sol", "owns", "zither"]])))
    assert (answered.code, answered.out.count("\n")) == (0, 1), answered.err
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    if "edge_kinds" in recipe["model"]["encoder"]:
        assert recipe["model"]["encoder"]["edge_kinds"] == (4 if "text.layout.levi=false" in settings else 2)
    else:
        assert recipe["text"]["layout"]["kind"] == "linearised"


def test_graphs_with_a_tag_are_known_as_graphs_and_asked_by_names(command: Command, tmp_path: Path) -> None:
    draws = random.Random(3)
    told_facts = [(facts(draws), draws.choice(("long", "short"))) for _ in range(90)]
    rows = [
        {"style": style, "source": as_graph(given), "target": told(given[: len(given) if style == "long" else 1])}
        for given, style in told_facts
    ]
    data, folder = tmp_path / "tagged.jsonl", tmp_path / "run"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ended = train(command, data, folder, "data.columns.tag=style")
    assert ended.code == 0, ended.err
    assert "model graph: the sources are graphs" in ended.err
    graph = as_graph(facts(draws))
    asked = {"style": "long", "source": graph}
    answered = command("generate", folder, json.dumps(asked))
    assert answered.code == 0, answered.err
    predictor = calque.load(folder)
    assert predictor(asked) == predictor({"source": json.dumps(graph)}, tag="long") == answered.out.rstrip("\n")
    refused = command("generate", folder, json.dumps(asked | {"source": {"nodes": [], "edges": []}}))
    assert (refused.code, refused.out) == (3, "")
    assert "a graph needs at least one node" in refused.err
    about = command("info", folder, "--json")
    assert json.loads(about.out)["reads"] == "style, source"


def test_a_line_of_text_becomes_a_graph_of_neighbours(command: Command, tmp_path: Path) -> None:
    lines = [f"{told(facts(random.Random(seed)))}\tanswer {seed % 3}" for seed in range(80)]
    data = tmp_path / "lines.tsv"
    data.write_text("\n".join(lines) + "\n")
    ended = train(command, data, tmp_path / "run", "model.encoder.kind=ggnn", "text.layout.kind=ngrams")
    assert ended.code == 0, ended.err
    assert command("generate", tmp_path / "run", "Mira Sol owns lute .").code == 0
    plan = command("train", data, "--model", "graph", "--dry-run", "--set", "train.threads=1")
    assert json.loads(plan.out)["text"]["layout"] == {"kind": "neighbours"}


def test_what_cannot_go_together_is_refused_before_anything_is_learned(command: Command, data: Path) -> None:
    for settings, said in (
        (["model.encoder.kind=gat", "text.layout.kind=linearised"], "model.encoder.kind is gat, which reads graphs"),
        (["model.encoder.kind=lstm", "text.layout.kind=graph"], "text.layout.kind is graph, which makes edges"),
        (["text.layout.kind=tree"], "text.layout.kind: no kind 'tree'"),
        (["text.layout.levy=false"], 'Did you mean "levi"?'),
    ):
        ended = train(command, data, data.parent / "run", *settings)
        assert (ended.code, ended.out) == (2, "")
        assert said in ended.err
        assert not (data.parent / "run" / "text").exists()


def test_a_bad_graph_is_named_with_its_line(command: Command, data: Path, tmp_path: Path) -> None:
    with data.open("a") as file:
        file.write(json.dumps({"source": {"nodes": ["a"], "edges": [[0, 4, "x"]]}, "target": "a ."}) + "\n")
    ended = train(command, data, tmp_path / "run")
    assert ended.code == 3
    assert "graphs.jsonl:91: " in ended.err
    assert "edges[0][1] is node 4, which does not exist; there is node 0 only" in ended.err
    checked = command("check", data)
    assert checked.code == 3
    assert "1 bad line, " in checked.out
    fixed = tmp_path / "fixed.tsv"
    assert command("check", data, "--fix", fixed).code == 3
    assert train(command, fixed, tmp_path / "run").code == 0
    # What came before a bad line is answered; the line is named.
    good = json.dumps(as_graph(facts(random.Random(3))))
    for bad, said in (("good morning", "not JSON"), ('{"nodes": [], "edges": []}', '"nodes" is empty')):
        answered = command("generate", tmp_path / "run", stdin=f"{good}\n\n{bad}\n{good}\n".encode())
        assert answered.code == 3
        assert answered.out.count("\n") == 2
        assert "standard input:3: " in answered.err
        assert said in answered.err
    refused = command("generate", tmp_path / "run", bad)
    assert (refused.code, refused.out) == (3, "")


def test_a_graph_longer_than_any_trained_on_is_answered_whole(command: Command, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert train(command, data, folder, "data.max_length=16").code == 0
    long = {"nodes": [f"node {number}" for number in range(40)], "edges": [[0, number, "owns"] for number in range(40)]}
    answered = command("generate", folder, json.dumps(long))
    assert answered.code == 0, answered.err
    assert answered.out.count("\n") == 1
    assert "in parts" not in answered.err
