"""`calque demo`: train an English→Chinese translator on built-in phrases."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from calque.api import load
from calque.data.files.formats import Example
from calque.demo.phrasebook import count_pairs, examples_to_try, num_patterns, num_words, split_pairs
from calque.metrics.score import Score
from calque.predict.predictor import Predictor
from calque.report.attention import attention_page, attention_png
from calque.report.progress import Display, display_for
from calque.runs.finish import score_examples
from calque.runs.request import Named, make_request
from calque.runs.session import run_training
from calque.system.files import write_atomic
from calque.tasks.kinds import task_metrics
from calque.tasks.table import DEFAULT_TASK

NUM_TRAIN = 24_000
NUM_TEST = 1_000
SEED = 1
Say = Callable[[str], None]

# Chosen by hand: regular text needs little dropout and no label smoothing; the epochs take three minutes.
SETTINGS = (
    "text.vocab_size=1200",
    "model.encoder.dropout=0.05",
    "model.decoder.dropout=0.05",
    "model.encoder.layers=2",
    "model.decoder.layers=2",
    "train.label_smoothing=0.0",
    "train.batch_tokens=1024",
    "train.max_epochs=5",
    "train.lr=0.004",
    "train.validation_sentences=300",
    'task.metrics=["exact", "bleu"]',
)


def run_demo(out: str, fresh: bool, quiet: bool, say: Say) -> int:
    """Write the phrases, train on them, score unseen sentences, draw the attention of one; return the exit code."""
    folder = Path(out)
    train, test = split_pairs(NUM_TRAIN, NUM_TEST, SEED)
    # The sentences shown at the end must be new to the model.
    train = [pair for pair in train if pair[0] not in examples_to_try()]
    train_file, test_file = _write(folder, "phrases.en-zh.tsv", train), _write(folder, "unseen.en-zh.tsv", test)
    with display_for(sys.stderr, quiet) as display:
        _introduce(display)
        request = make_request([str(train_file)], folder, Named("transformer", "tiny", DEFAULT_TASK, None), SETTINGS)
        outcome = run_training(request, fresh, display)
    if outcome and outcome.signal:
        return 128 + outcome.signal
    predictor = load(folder)
    unseen = [Example(source, (target,), 0) for source, target in test]
    scores, _ = score_examples(predictor, unseen, task_metrics(predictor.task))
    for line in _result(predictor, scores):
        say(line)
    for line in [*_draw_attention(predictor, folder), *_next_steps(folder, train_file, test_file)]:
        say(line)
    return 0


def _introduce(display: Display) -> None:
    display.note(
        f"{num_patterns()} patterns and {num_words()} words make {count_pairs():,} pairs;"
        f" {NUM_TRAIN:,} to train on, {NUM_TEST:,} unseen combinations to score"
    )


def _write(folder: Path, name: str, pairs: Sequence[tuple[str, str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    text = "".join(f"{source}\t{target}\n" for source, target in pairs)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)
    return path


def _result(predictor: Predictor, scores: Sequence[Score]) -> list[str]:
    found = ", ".join(f"{score.name} {score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" for score in scores)
    lines = ["", f"on {NUM_TEST:,} unseen sentences: {found} (95 % interval); six examples:", ""]
    for sentence in examples_to_try():
        lines.append(f"  {sentence}\n    → {predictor(sentence)}")
    return lines


def _draw_attention(predictor: Predictor, folder: Path) -> list[str]:
    sentence = examples_to_try()[0]
    attention = predictor.attention(sentence)
    assert attention is not None, "the demo's Transformer attends"
    source, target, weights = attention.source, attention.target, attention.weights
    page = attention_page(source, target, weights, "Attention", f"{sentence} → {predictor(sentence)}")
    write_atomic(folder / "attention.html", page)
    missing = attention_png(folder / "attention.png", source, target, weights, sentence)
    return ["", f"attention: {folder / 'attention.html'}", *([missing] if missing else [])]


def _next_steps(folder: Path, train_file: Path, test_file: Path) -> list[str]:
    return [
        f"training:  {folder / 'report.html'}",
        "",
        "Try next:",
        f'  calque generate {folder} "{examples_to_try()[1]}"',
        f"  calque eval {folder} {test_file}",
        f"  calque train {train_file} --model lstm",
    ]
