"""Find what is wrong with a data set, the most serious first and each with advice.

Memory stays flat (see `tally`), and nothing is changed.
"""

from collections import Counter
from collections.abc import Iterator

from calque.data.check import tally as counting
from calque.data.check.report import LEVELS, CheckReport, Finding, Level, Overlap, SideLengths
from calque.data.check.tally import Found, Tally
from calque.data.files import quoting
from calque.data.files.columns import learn_inputs
from calque.data.files.readers import Dataset
from calque.data.survey import development_sample, refuse_too_few
from calque.errors import DataError

_FIX = "calque check FILE --fix OUT"


def check_dataset(dataset: Dataset, other: Dataset | None = None, valid: Dataset | None = None) -> CheckReport:
    """Return what is wrong with `dataset`, and what it shares with `other` (a test set).

    A finding is an error exactly if training would refuse the data; without `valid`, training holds out a tenth of the
    pairs. Raises DataError for a file that cannot be read as a whole or has no usable pair.
    """
    counted = counting.tally(dataset)
    # Use the ratios, which are in the order of the lines, before the keys are sorted.
    outliers = counting.ratio_outliers(counted)
    keys = counting.sorted_keys(counted)
    repeated, conflicting = counting.duplicates(keys)
    overlap = None if other is None else _overlap(counted, keys, other)
    swapped = _swapped(counted)
    findings = [
        *_refusals(dataset, counted, overlap, valid),
        *_shared(overlap),
        *_doubtful(dataset, counted, swapped, outliers),
        *_harmless(counted, repeated, conflicting, dataset.joined_newlines),
    ]
    usable = len(counted.lines)
    return CheckReport(
        name=dataset.name,
        description=dataset.description,
        pairs=counted.pairs,
        usable=usable,
        source=_side(counted.source_lengths, counted, 0),
        target=_side(counted.target_lengths, counted, 1),
        bad_lines=counted.bad.count,
        first_bad=tuple(map(str, counted.bad_errors)),
        duplicate_pairs=repeated,
        conflicting_sources=conflicting,
        swapped_share=swapped.count / usable,
        odd_characters=dict(counted.odd_characters.most_common()),
        joined_newlines=dataset.joined_newlines,
        overlap=overlap,
        findings=tuple(
            sorted((found for found in findings if found.count), key=lambda found: LEVELS.index(found.level))
        ),
        graphs=counted.graphs,
    )


def _side(lengths: Counter[int], counted: Tally, index: int) -> SideLengths:
    scripts: Counter[str] = Counter()
    for names, found in counted.scripts.items():
        scripts[names[index]] += found.count
    median, most = (counting.quantile(lengths, share) for share in (0.5, 0.95))
    return SideLengths(median, most, max(lengths), dict(scripts.most_common()))


def _main_scripts(counted: Tally) -> tuple[str, str]:
    source, target = (next(iter(_side(Counter([0]), counted, index).scripts)) for index in (0, 1))
    return source, target


def _swapped(counted: Tally) -> Found:
    """Return the lines whose sides are swapped; there is no evidence of any if both sides share a script."""
    source, target = _main_scripts(counted)
    return Found() if source == target else counted.scripts.get((target, source), Found())


def _overlap(counted: Tally, keys: counting.Keys, other: Dataset) -> Overlap:
    others = counting.tally(other)
    same_source, same_pair = counting.shared(keys, counting.sorted_keys(others))
    source, target = _main_scripts(counted)
    swapped = source != target and _main_scripts(others) == (target, source)
    first_bad = str(others.bad_errors[0]) if others.bad_errors else ""
    return Overlap(other.name, len(others.lines), same_source, same_pair, swapped, others.bad.count, first_bad)


def _number(count: int, noun: str) -> str:
    """Return a number with its noun, such as "1 pair" or "2,000 pairs"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _finding(kind: str, level: Level, found: Found, noun: str, message: str, advice: str) -> Finding:
    """Return the finding of lines; `message` describes the lines after their number and `noun`."""
    return Finding(kind, level, found.count, f"{_number(found.count, noun)}{message}", advice, tuple(found.first))


def _refusals(dataset: Dataset, counted: Tally, overlap: Overlap | None, valid: Dataset | None) -> Iterator[Finding]:
    """Yield the faults that training would refuse, with the messages of training where it has one."""
    usable = len(counted.lines)
    fix = f"Fix them, or leave them out: {_FIX}"
    if counted.bad.count > usable:
        fix = f"Most lines are bad: check whether the file is really {dataset.description}. {fix}"
    yield _finding("bad_lines", "error", counted.bad, "bad line", ", at which training would stop", fix)
    if overlap is not None and overlap.bad_lines:
        message = f"{_number(overlap.bad_lines, 'bad line')} in {overlap.name}"
        yield Finding("overlap_bad_lines", "error", overlap.bad_lines, message, f"The first: {overlap.first_bad}")
    held_out = 0 if valid else counted.held_out
    try:
        num_dev = len(development_sample(valid, 1)) if valid else held_out
        refuse_too_few(dataset.name, usable - held_out, num_dev, split=valid is None)
        if dataset.columns.tag:
            sources = (example.source for example in dataset.examples(lambda _: None))
            learn_inputs(dataset.columns, "source", sources, lambda _: None)
    except DataError as error:
        yield Finding("refused", "error", 1, error.message, "Training would refuse the data")


def _shared(overlap: Overlap | None) -> Iterator[Finding]:
    if overlap is None:
        return
    total = f"the {_number(overlap.pairs, 'pair')} of {overlap.name}"
    message = f"the sources of {overlap.same_source:,} of {total} are in this file too"
    exact = f"{message}; {overlap.same_pair:,} of them with the same target"
    advice = "Scores on them are too good: remove them from one of the two files"
    yield Finding("overlap", "warning", overlap.same_source, exact, advice)
    message = f"the columns of {overlap.name} seem to be swapped"
    advice = "Swap the columns of one of the two files"
    yield Finding("overlap_swapped", "warning", int(overlap.swapped), message, advice)


def _doubtful(dataset: Dataset, counted: Tally, swapped: Found, outliers: Found) -> list[Finding]:
    skipped = "Training skips such pairs. If there are many, the lines of one side may be shifted"
    mixed = counted.graphs if counted.graphs < len(counted.lines) else 0
    graphs = f"{_number(mixed, 'graph')} among the sources, the others are text"
    form = "A model reads either graphs or text: write all sources in one form"
    quoted, first = dataset.quoted_lines
    marks = f"{_number(quoted, 'line')} with texts in quotation marks, as a CSV program writes them"
    as_csv = f"The marks are read as part of the text. To remove them: {quoting.READ_AS_CSV}"
    unlike, together = " whose sides have very different lengths", "Check whether the sides belong together"
    equal, drop = " with equal sides", "Remove the texts that were not translated"
    by_script = " with swapped sides, judging by their scripts"
    return [
        Finding("mixed_forms", "warning", mixed, graphs, form),
        Finding("quoted", "warning", quoted, marks, as_csv, (first,)),
        _finding("swapped", "warning", swapped, "pair", by_script, "Swap their two sides"),
        _finding("blank_target", "warning", counted.blank_target, "pair", " with an empty target", skipped),
        _finding("blank_source", "warning", counted.blank_source, "pair", " with an empty source", skipped),
        _finding("length_ratio", "warning", outliers, "pair", unlike, together),
        _finding("equal_sides", "warning", counted.equal_sides, "pair", equal, drop),
    ]


def _harmless(counted: Tally, repeated: int, conflicting: int, joined: int) -> list[Finding]:
    odd = f" with control or invisible characters: {_listed(counted.odd_characters)}"
    spaces = f" with unusual spaces: {_listed(counted.space_characters)}"
    kept = "They are part of the text in training"
    several = f"{_number(conflicting, 'source')} with more than one target"
    repeats = f"{_number(repeated, 'pair')} equal to an earlier one"
    drop = f"They have more weight in training; remove them with: {_FIX}"
    breaks = f"{_number(joined, 'line break or tab')} inside texts, read as spaces"
    return [
        Finding("conflicting_sources", "note", conflicting, several, "This is fine if all targets are right answers"),
        Finding("duplicate_pairs", "note", repeated, repeats, drop),
        _finding(
            "blank_both", "note", counted.blank_both, "pair", " with two empty sides", "Training skips such pairs"
        ),
        _finding("odd_characters", "note", counted.odd, "line", odd, kept),
        _finding("spaces", "note", counted.spaces, "line", spaces, "A model does not read them as spaces"),
        _finding(
            "special_text",
            "note",
            counted.special,
            "line",
            " with the text of a special token",
            "They are kept as text",
        ),
        Finding("joined_newlines", "note", joined, breaks, "Nothing to do"),
    ]


def _listed(characters: Counter[str]) -> str:
    return ", ".join(f"{name} × {count:,}" for name, count in characters.most_common(5))
