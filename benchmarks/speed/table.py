"""Print what a results folder holds as Markdown: medians, ranges, ratios within a run, shares of the roof."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from benchmarks.speed.machine import Record

OURS = "calque"
Rates = Mapping[int, float]
KEYS: dict[str, Callable[[Record], str]] = {
    "train": lambda record: f"{record['architecture']}, {record['precision']}",
    "decode": lambda record: record["mode"],
}


def markdown(records: Sequence[Record]) -> str:
    """Return all tables."""
    parts = [_machine(records), _peers(records), _roofs(records), *_trainings(records), *_decodings(records)]
    parts += [_starts(records), _costs(records), _goals(records)]
    return "\n\n".join(part for part in parts if part) + "\n"


def last_run(records: Iterable[Record]) -> list[Record]:
    """Return the records of the latest invocation among some: figures of two are never compared."""
    kept = list(records)
    latest = max((record["run"] for record in kept), default="")
    return [record for record in kept if record["run"] == latest]


def rates(records: Iterable[Record]) -> dict[str, dict[int, float]]:
    """Return each system's rate of each round, the sweep (round 0) left out unless nothing else was run."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    kept = [record for record in records if "rate" in record]
    rounds_run = any(record["round"] for record in kept)
    for record in kept:
        number, system = record["round"], record["system"]
        if number or not rounds_run:
            found[system][number] = max(record["rate"], found[system].get(number, 0.0))
    return dict(found)


def spread(values: Iterable[float], form: str = ",.0f") -> str:
    """Return a median and the range around it in words."""
    numbers = sorted(values)
    if not numbers:
        return "—"
    middle = format(median(numbers), form)
    return middle if len(numbers) == 1 else f"{middle} [{numbers[0]:{form}}–{numbers[-1]:{form}}]"


def ratios(ours: Rates, theirs: Rates) -> list[float]:
    """Return the ratio of each round that both were measured in."""
    return [ours[number] / theirs[number] for number in sorted(ours) if number in theirs]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def setting_words(setting: Mapping[str, int]) -> str:
    """Return a setting as workers × threads."""
    return f"{setting['workers']} × {setting['threads']}" if setting else "—"


def _machine(records: Sequence[Record]) -> str:
    machines = [record for record in records if record["kind"] == "machine"]
    if not machines:
        return ""
    said = machines[-1]
    flags = ", ".join(said["flags"]) or "none of those that matter"
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    commands = "\n".join(dict.fromkeys(f"    {machine['command']}" for machine in machines))
    loads = spread((machine["load"] for machine in machines), ".1f")
    text = f"{said['cores']} cores of {said['cpu']} ({flags}), {said['memory_gib']} GiB; Python {said['python']}"
    return f"{text}, {versions}. Load of the machine before each command: {loads}.\n\n{commands}"


def _peers(records: Sequence[Record]) -> str:
    latest = {record["system"]: record["failure"] for record in records if record["kind"] == "peer"}
    failed = {system: failure for system, failure in latest.items() if failure}
    return "\n".join(f"- {system} could not be installed: `{failure}`" for system, failure in failed.items())


def _roofs(records: Sequence[Record]) -> str:
    kept = last_run(record for record in records if record["kind"] == "roof")
    threads = sorted({record["threads"] for record in kept})
    rows: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for record in kept:
        name = "×".join(map(str, record.get("shape", []))) or ""
        value = (
            f"{record.get('gflops', record.get('gbytes', 0)):,.0f}" if "failure" not in record else record["failure"]
        )
        rows[f"{record['roof']} {name}".strip(), record.get("type", "GB/s")][record["threads"]] = value
    if not rows:
        return ""
    head = [
        "product (10⁹ operations/s) or memory",
        "type",
        *(f"{count} thread{'s' * (count > 1)}" for count in threads),
    ]
    body = [[*names, *(values.get(count, "—") for count in threads)] for names, values in rows.items()]
    return "## Roofs\n\n" + table(head, body)


def roof(records: Iterable[Record], precision: str) -> float:
    """Return the highest rate of products of a type, in operations a second; 0 where it was not measured."""
    kept = last_run(record for record in records if record["kind"] == "roof")
    kinds = [record for record in kept if record.get("type") == precision and "gflops" in record]
    return max((record["gflops"] * 1e9 for record in kinds), default=0.0)


def memory_roof(records: Iterable[Record]) -> float:
    """Return the highest bandwidth of reading, in bytes a second; 0 where it was not measured."""
    kept = last_run(record for record in records if record["kind"] == "roof")
    return max((record["gbytes"] * 1e9 for record in kept if record["roof"] == "memory read"), default=0.0)


def share(reached: float, highest: float, binds: bool = True) -> str:
    """Return a share of a roof in words, nothing where the roof is not known or does not bind."""
    return f"{reached / highest:.0%}" if highest and binds else "—"


def is_single(mode: str) -> bool:
    """Return whether a mode decodes one sentence at a time: then every step reads all weights for it."""
    return mode.endswith("batch 1")


def _grouped(records: Sequence[Record], kind: str) -> dict[str, list[Record]]:
    """Return the latest run of each group of a kind, with what failed in it."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record["kind"] == kind and (kind != "decode" or "mode" in record):
            groups[KEYS[kind](record)].append(record)
    return {name: last_run(group) for name, group in groups.items()}


def _trainings(records: Sequence[Record]) -> list[str]:
    parts = []
    for name, group in _grouped(records, "train").items():
        found, best = rates(group), {record["system"]: record for record in group if "rate" in record}
        top = roof(records, group[0]["precision"])
        head = [
            "system",
            "workers × threads",
            "target tokens/s",
            "calque ÷ it",
            "share of the roof",
            "tokens an update",
        ]
        rows = []
        for system, measured in sorted(found.items(), key=lambda item: -median(item[1].values())):
            last = best[system]
            peak = max(record["peak_bytes"] for record in group if record["system"] == system and "rate" in record)
            ratio = spread(ratios(found.get(OURS, {}), measured), ".2f") if system != OURS else "1"
            shown = [system, setting_words(last["setting"]), spread(measured.values()), ratio]
            binding = share(median(measured.values()) * last["operations"], top)
            rows.append([*shown, binding, f"{last['tokens']:,.0f}", f"{peak / 1e6:,.0f}"])
        text = f"## Training: {name}\n\n" + table([*head, "peak memory, MB"], rows)
        parts.append(text + _failures(group, found))
    return parts


def _decodings(records: Sequence[Record]) -> list[str]:
    parts = []
    for name, group in _grouped(records, "decode").items():
        found, best = rates(group), {record["system"]: record for record in group if "rate" in record}
        others = [system for system in found if not system.startswith(OURS)]
        roofs = (roof(records, "fp32"), roof(records, "int8"), memory_roof(records))
        head = ["system", "workers × threads", "sentences/s", *(f"÷ {other}" for other in others)]
        head += ["share of product roof", "of memory's"]
        rows = []
        for system, measured in sorted(found.items(), key=lambda item: -median(item[1].values())):
            last = best[system]
            shown = [spread(ratios(measured, found[other]), ".2f") if other != system else "1" for other in others]
            equal = f"{last['equal']:.1%}" if "equal" in last else "—"
            peak = max(record["peak_bytes"] for record in group if record["system"] == system and "rate" in record)
            first = [system, setting_words(last["setting"]), spread(measured.values(), ",.1f")]
            product, middle = roofs["int8" in system], median(measured.values())
            # What a model of another make needs is not counted.
            work, read = (middle * last.get(what, 0) for what in ("operations", "bytes"))
            binding = [share(work, product), share(read, roofs[2], is_single(name))] if work else ["—", "—"]
            rows.append([*first, *shown, *binding, equal, f"{last['bleu']:.2f}", f"{peak / 1e6:,.0f}"])
        text = f"## Decoding: {name}\n\n" + table([*head, "same text as eager", "BLEU", "peak memory, MB"], rows)
        parts.append(text + _failures(group, found))
    absent = [record for record in records if record["kind"] == "decode" and "mode" not in record]
    latest = last_run(record for record in records if record["kind"] == "decode")
    return [*parts, _failures([record for record in latest if record in absent], {}).strip()]


def _failures(group: Sequence[Record], found: Mapping[str, object]) -> str:
    failed = {record["system"]: record["failure"] for record in group if "failure" in record}
    lines = [f"- {name}: `{failure}`" for name, failure in failed.items() if name not in found]
    return "\n\nNot measured:\n\n" + "\n".join(lines) if lines else ""


def _starts(records: Sequence[Record]) -> str:
    kept = last_run(record for record in records if record["kind"] == "start")
    found: dict[str, list[float]] = defaultdict(list)
    for record in kept:
        found[record["system"]].append(record["seconds"])
    rows = [[system, spread(seconds, ".2f")] for system, seconds in found.items()]
    return "## Start\n\n" + table(["command", "seconds to its first output"], rows) if rows else ""


def _costs(records: Sequence[Record]) -> str:
    kept = last_run(record for record in records if record["kind"] == "cost")
    rows = [[record["against"], f"{record['amount']:,}", f"{record['value']:,.4g}", record["unit"]] for record in kept]
    return "## Cost against work\n\n" + table(["against", "amount", "value", "unit"], rows) if rows else ""


def _goals(records: Sequence[Record]) -> str:
    kept = last_run(record for record in records if record["kind"] == "goal")
    rows = [
        [
            record["system"],
            record["size"],
            setting_words(record["setting"]),
            f"{record['minutes']:.1f}" if "minutes" in record else record["failure"],
            f"{record.get('dev', 0):.2f}",
            f"{record.get('bleu', 0):.2f}",
        ]
        for record in kept
    ]
    told = ["minutes from the command to the score", "dev BLEU", "test BLEU, beam 5"]
    head = ["system", "size", "workers × threads", *told]
    return "## Time to a score\n\n" + table(head, rows) if rows else ""
