"""The model card of a model folder: the model, its data, its scores, and how to use it.

After Mitchell et al. 2019, "Model Cards for Model Reporting"; plain Markdown, made from facts alone.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from calque.report.page import printable


@dataclass(frozen=True)
class CardData:
    """One data set: its role ("training", "validation", "test"), name, number of pairs and sha256 digest."""

    role: str
    name: str
    pairs: int
    digest: str


@dataclass(frozen=True)
class CardScore:
    """One measured score; `interval` is its 95 % confidence interval, `signature` how it was computed."""

    metric: str
    value: float
    data: str
    interval: tuple[float, float] | None = None
    signature: str = ""


@dataclass(frozen=True)
class CardFacts:
    """The facts of a model card; an empty text is an unknown fact.

    `folder` is the path in the commands of the card; `example` is a source text that is not from the data.
    `recipe` are the settings to show, by their full key. `max_length` is in tokens of either side.
    """

    name: str
    task: str
    architecture: str
    parameters: int
    size_bytes: int
    folder: str
    source_language: str = ""
    target_language: str = ""
    vocabulary: str = ""
    data: tuple[CardData, ...] = ()
    scores: tuple[CardScore, ...] = ()
    recipe: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    time: str = ""
    version: str = ""
    max_length: int | None = None
    example: str = "good morning"
    licence: str = ""


def model_card(facts: CardFacts) -> str:
    """Return the README.md of a model folder."""
    parts = [
        f"# {_plain(facts.name)}",
        _summary(facts),
        f"## Use\n\n{_use(facts)}",
        f"## Model\n\n{_model(facts)}",
        f"## Data\n\n{_data(facts.data)}",
        f"## Scores\n\n{_scores(facts.scores)}",
        f"## Recipe\n\n{_recipe(facts.recipe)}",
        f"## Limits\n\n{_limits(facts)}",
        f"## Licence\n\n{_licence(facts.licence)}",
    ]
    return "\n\n".join(parts) + "\n"


def size_text(size_bytes: int) -> str:
    """Return a file size such as '37.5 MB' (powers of ten)."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.95 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _summary(facts: CardFacts) -> str:
    maker = f" by calque {_plain(facts.version)}" if facts.version else " by calque"
    languages = f", {_languages(facts)}" if facts.source_language or facts.target_language else ""
    return f"A model for {_plain(facts.task)}{languages}, trained{maker}. Its input and output are raw text."


def _languages(facts: CardFacts) -> str:
    return f"from {_plain(facts.source_language) or 'unknown'} to {_plain(facts.target_language) or 'unknown'}"


def _use(facts: CardFacts) -> str:
    folder, example = printable(facts.folder), printable(facts.example)
    shell = f"calque generate {shlex.quote(folder)} {shlex.quote(example)}"
    python = f"import calque\n\nmodel = calque.load({_python(folder)})\nprint(model({_python(example)}))"
    return f"{_fence('sh', shell)}\n\n{_fence('python', python)}"


def _model(facts: CardFacts) -> str:
    rows = [
        ("Languages", _languages(facts) if facts.source_language or facts.target_language else "not given"),
        ("Architecture", _plain(facts.architecture)),
        ("Parameters", f"{facts.parameters:,}"),
        ("Size of the weights", size_text(facts.size_bytes)),
        ("Vocabulary", _plain(facts.vocabulary)),
        ("Trained on", _plain(facts.machine)),
        ("Training time", _plain(facts.time)),
    ]
    return _table(["", ""], [row for row in rows if row[1]])


def _data(data: Sequence[CardData]) -> str:
    if not data:
        return "Nothing was recorded about the data."
    rows = [(_plain(part.role), _plain(part.name), f"{part.pairs:,}", _code(part.digest)) for part in data]
    return _table(["role", "name", "pairs", "sha256"], rows)


def _scores(scores: Sequence[CardScore]) -> str:
    if not scores:
        return "The model was not scored. Score it with `calque eval`."
    rows = []
    for score in scores:
        interval = "" if score.interval is None else f"{score.interval[0]:.2f} to {score.interval[1]:.2f}"
        signature = _code(score.signature) if score.signature else ""
        rows.append((_plain(score.metric), f"{score.value:.2f}", interval, _plain(score.data), signature))
    return _table(["measure", "score", "95 % interval", "data", "signature"], rows)


def _recipe(recipe: Mapping[str, str]) -> str:
    table = _table(["setting", "value"], [(_code(key), _code(value)) for key, value in recipe.items()])
    whole = "The whole recipe is in `recipe.json`; seed, versions and hashes are in `run.json`."
    return f"{table}\n\n{whole}" if recipe else whole


def _limits(facts: CardFacts) -> str:
    lines = [
        "The output can be fluent and wrong: check names, numbers and negation.",
        "The scores are valid for text like the training data; expect lower scores on other text.",
        "The model reproduces what its training data say, including prejudices.",
        "Have an expert check the output before anything depends on it.",
    ]
    if facts.max_length is not None:
        lines.insert(
            0, f"It was trained on texts of at most {facts.max_length:,} tokens; longer texts are answered in parts."
        )
    pairs = sum(part.pairs for part in facts.data if part.role == "training")
    if 0 < pairs < 100_000:
        lines.insert(0, f"It was trained on only {pairs:,} pairs: expect unknown words.")
    return "\n".join(f"- {line}" for line in lines)


def _licence(licence: str) -> str:
    stated = (
        f"The licence of these weights is {_plain(licence)}." if licence else "These weights have no stated licence."
    )
    return (
        f"{stated} They were learned from the data above, whose terms may apply to them too: read them before you pass "
        "the model on. The licence of calque, Apache-2.0, does not apply to models that are trained with it."
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Return Markdown that shows `text` unchanged."""
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", printable(text)).strip()


def _code(text: str) -> str:
    """Return a code span; with a fence longer than any run of backticks; a vertical bar would end a table's cell."""
    inner = printable(text).replace("|", "\\|") or " "
    longest = max((len(run) for run in re.findall("`+", inner)), default=0)
    pad = " " if inner.startswith("`") or inner.endswith("`") else ""
    fence = "`" * (longest + 1)
    return f"{fence}{pad}{inner}{pad}{fence}"


def _fence(language: str, code: str) -> str:
    # The texts have no line breaks, so they cannot close the fence.
    return f"```{language}\n{code}\n```"


def _python(text: str) -> str:
    # A JSON string is also a Python string, in double quotes.
    return json.dumps(text, ensure_ascii=False)
