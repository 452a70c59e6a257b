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

    A finding is an error exactly where training would refuse the data: with `valid` to validate on, or holding out a
    tenth without it. Raises DataError for a file that is spoilt as a whole or has no usable pair.
    """
    counted = counting.tally(dataset)
    # The ratios are in the order of the lines: they are used before the keys are sorted.
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
    """Return the lines written the other way round; this is unknown where both sides share a script."""
    source, target = _main_scripts(counted)
    return Found() if source == target else counted.scripts.get((target, source), Found())


def _overlap(counted: Tally, keys: counting.Keys, other: Dataset) -> Overlap:
    others = counting.tally(other)
    same_source, same_pair = counting.shared(keys, counting.sorted_keys(others))
    source, target = _main_scripts(counted)
    swapped = source != target and _main_scripts(others) == (target, source)
    first_bad = str(others.bad_errors[0]) if others.bad_errors else ""
    return Overlap(other.name, len(others.lines), same_source, same_pair, swapped, others.bad.count, first_bad)


def _finding(kind: str, level: Level, found: Found, message: str, advice: str) -> Finding:
    return Finding(kind, level, found.count, f"{found.count:,} {message}", advice, tuple(found.first))


def _refusals(dataset: Dataset, counted: Tally, overlap: Overlap | None, valid: Dataset | None) -> Iterator[Finding]:
    """Yield what training would refuse, in the words of training where it decides."""
    usable = len(counted.lines)
    fix = f"Fix them, or leave them out: {_FIX}"
    if counted.bad.count > usable:
        fix = f"Most lines are bad: see whether the file is {dataset.description}. {fix}"
    yield _finding("bad_lines", "error", counted.bad, "bad lines, at which training would stop", fix)
    if overlap is not None and overlap.bad_lines:
        message = f"{overlap.bad_lines:,} bad lines in {overlap.name}"
        yield Finding("overlap_bad_lines", "error", overlap.bad_lines, message, f"The first: {overlap.first_bad}")
    held_out = 0 if valid else counted.held_out
    try:
        num_dev = len(development_sample(valid, 1)) if valid else held_out
        refuse_too_few(dataset.name, usable - held_out, num_dev, split=valid is None)
        if dataset.columns.tag:
            sources = (example.source for example in dataset.examples(lambda _: None))
            learn_inputs(dataset.columns, "source", sources, lambda _: None)
    except DataError as error:
        yield Finding("refused", "error", 1, error.message, "Training would stop here")


def _shared(overlap: Overlap | None) -> Iterator[Finding]:
    if overlap is None:
        return
    message = f"{overlap.same_source:,} of the {overlap.pairs:,} pairs of {overlap.name} have a source that is here too"
    exact = f"{message}, {overlap.same_pair:,} as the same pair"
    advice = "Scores on them flatter the model: remove them from one of the two files"
    yield Finding("overlap", "warning", overlap.same_source, exact, advice)
    message = f"{overlap.name} has its columns the other way round"
    yield Finding("overlap_swapped", "warning", int(overlap.swapped), message, "Swap the columns of one")


def _doubtful(dataset: Dataset, counted: Tally, swapped: Found, outliers: Found) -> list[Finding]:
    skipped = "They are skipped; if there are many, one side may be shifted against the other"
    mixed = counted.graphs if counted.graphs < len(counted.lines) else 0
    form = "A model reads either; give all sources one form"
    quoted, first = dataset.quoted_lines
    marks = f"{quoted:,} lines hold texts in quotation marks as a CSV program writes them"
    as_csv = f"The marks are read as text. To read the texts without them: {quoting.READ_AS_CSV}"
    unlike, together = "pairs of very unlike lengths", "See whether the sides belong together"
    equal, drop = "pairs whose sides are equal", "Drop what was not translated"
    return [
        Finding("mixed_forms", "warning", mixed, f"{mixed:,} sources are graphs, the others texts", form),
        Finding("quoted", "warning", quoted, marks, as_csv, (first,)),
        _finding("swapped", "warning", swapped, "pairs look swapped by their scripts", "Swap their two sides"),
        _finding("blank_target", "warning", counted.blank_target, "pairs with an empty target", skipped),
        _finding("blank_source", "warning", counted.blank_source, "pairs with an empty source", skipped),
        _finding("length_ratio", "warning", outliers, unlike, together),
        _finding("equal_sides", "warning", counted.equal_sides, equal, drop),
    ]


def _harmless(counted: Tally, repeated: int, conflicting: int, joined: int) -> list[Finding]:
    odd = f"lines with control or invisible characters: {_listed(counted.odd_characters)}"
    spaces = f"lines with unusual spaces: {_listed(counted.space_characters)}"
    several = f"{conflicting:,} sources with more than one target"
    drop = f"They weigh more in training; drop them with: {_FIX}"
    breaks = f"{joined:,} line breaks and tabs inside texts read as spaces"
    return [
        Finding("conflicting_sources", "note", conflicting, several, "Fine if all are right answers"),
        Finding("duplicate_pairs", "note", repeated, f"{repeated:,} pairs repeat an earlier one", drop),
        _finding("blank_both", "note", counted.blank_both, "pairs with both sides empty", "They are skipped"),
        _finding("odd_characters", "note", counted.odd, odd, "They are kept as text"),
        _finding("spaces", "note", counted.spaces, spaces, "A model takes them for other characters than a space"),
        _finding("special_text", "note", counted.special, "lines that spell special tokens", "They are kept as text"),
        Finding("joined_newlines", "note", joined, breaks, "Nothing to do"),
    ]


def _listed(characters: Counter[str]) -> str:
    return ", ".join(f"{name} × {count:,}" for name, count in characters.most_common(5))
