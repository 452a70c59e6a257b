"""Open hundreds of hostile model folders: each must end in one line, in 5 CPU seconds and 2 x its size + 200 MB (S10).

    python benchmarks/faults/hostile_folders.py --mutated 500

takes about two minutes. It trains a tiny model (seconds), then opens crafted folders and randomly mutated copies, each
in a forked process under an audit hook that refuses to unpickle, to start processes and to open files for writing.
"""

import argparse
import json
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEGABYTE = 2**20
MAX_SECONDS, EXTRA_MEMORY = 5.0, 200 * MEGABYTE
Change = Callable[[Path], None]


@dataclass(frozen=True)
class Trial:
    """What one folder did: `outcome` is "refused", "answered" or what went wrong.

    `seconds` are those of the CPU, so that other work does not count; `memory` is the peak beyond the start.
    """

    name: str
    outcome: str
    seconds: float
    memory: int
    allowed: int

    @property
    def is_good(self) -> bool:
        """Return whether the folder kept to what is promised."""
        fits = self.seconds <= MAX_SECONDS and self.memory <= self.allowed
        return self.outcome in ("refused", "answered") and fits


def crafted() -> Iterator[tuple[str, Change]]:
    """Yield the name of each crafted fault with the function that puts it into a folder."""
    yield from _recipes()
    yield from _searches()
    yield from _weights()
    for name in ("recipe.json", "manifest.json", "model.safetensors", "text/text.json"):
        yield from _files(name)


def _recipes() -> Iterator[tuple[str, Change]]:
    huge = (20_000, 10**7, 10**9, 2**31, 2**63, 10**30, -1, 0, 1.5, "9", None, True, [], {})
    for path in (
        "model.encoder.layers", "model.decoder.layers", "model.encoder.width", "model.decoder.width",
        "model.encoder.feed_forward", "model.encoder.heads", "search.beam",
        "search.n_best", "search.max_length", "search.max_length_ratio", "search.min_length", "search.no_repeat_ngram",
        "data.max_length",
    ):  # fmt: skip
        for value in huge:
            yield f"recipe {path}={value!r:.20}", _setting(path, value)
    for path in ("model.encoder.dropout", "search.length_penalty"):
        for text in ("1e999", "-1e999", "NaN", "Infinity", "1e308"):
            yield f"recipe {path}={text}", _setting(path, text, raw=True)
    for section in ("model", "task", "text", "search", "data", "format"):
        yield f"recipe without {section}", _without(section)
        yield f"recipe with {section} a list", _setting(section, [])
    yield "recipe kind unknown", _setting("model.encoder.kind", "pickle")
    yield "recipe with a path", _setting("text.source", {"kind": "sentencepiece", "path": "../../etc/passwd"})


def _searches() -> Iterator[tuple[str, Change]]:
    """Yield search settings that are within their bounds each, and slow alone or together."""
    for settings in (
        {"beam": 1024}, {"beam": 1024, "n_best": 1024}, {"min_length": 10_000}, {"max_length_extra": 10_000},
        {"max_length_ratio": 1000.0}, {"max_length_ratio": 1000.0, "length_penalty": 8.0}, {"beam": 400},
        {"beam": 1, "max_length_extra": 10_000}, {"beam": 64, "min_length": 1000}, {"beam": 113},
        {"min_length": 800, "no_repeat_ngram": 1}, {"min_length": 800, "no_repeat_ngram": 1000},
        {"beam": 1024, "n_best": 1024, "min_length": 10_000, "no_repeat_ngram": 1000, "max_length_ratio": 1000.0},
        {"beam": 5, "max_length_ratio": 99.0}, {"beam": 1, "max_length_extra": 1000},
    ):  # fmt: skip
        yield f"search {settings}", _all({f"search.{name}": value for name, value in settings.items()})


def _weights() -> Iterator[tuple[str, Change]]:
    yield "weights NaN", lambda folder: _rewrite(folder, lambda tensors: _poison(tensors, float("nan")))
    yield "weights infinite", lambda folder: _rewrite(folder, lambda tensors: _poison(tensors, float("inf")))
    for kind in ("float16", "bfloat16", "float64", "int8", "int64", "bool"):
        yield f"weights of {kind}", _cast(kind)
    yield "weights with one more", lambda folder: _rewrite(folder, _one_more)
    yield "weights with one less", lambda folder: _rewrite(folder, _one_less)
    for length in (0, 1, 2**20, 2**40, 2**63, 2**64 - 1):
        yield f"weights with a header of {length}", _header_length(length)
    for text in (b"{}", b"[]", b"null", b"{" * 5000, b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1e9]}}',
                 b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'):  # fmt: skip
        yield f"weights with the header {text[:24]!r}", _header(text)


def _files(name: str) -> Iterator[tuple[str, Change]]:
    yield f"{name} missing", lambda folder: (folder / name).unlink()
    yield f"{name} empty", lambda folder: _write(folder / name, b"")
    yield f"{name} a folder", lambda folder: _replace(folder / name, Path.mkdir)
    yield f"{name} a FIFO", lambda folder: _replace(folder / name, os.mkfifo)
    yield f"{name} a device", lambda folder: _replace(folder / name, lambda path: path.symlink_to("/dev/zero"))
    yield f"{name} a broken link", lambda folder: _replace(folder / name, lambda path: path.symlink_to("nowhere"))
    yield f"{name} a circle of links", lambda folder: _replace(folder / name, lambda path: path.symlink_to(path.name))
    yield f"{name} deep JSON", lambda folder: _write(folder / name, b"[" * 100_000)
    yield f"{name} deep objects", lambda folder: _write(folder / name, b'{"a":' * 100_000)
    yield f"{name} a long number", lambda folder: _write(folder / name, b"1" * 100_000)
    yield f"{name} large", lambda folder: _write(folder / name, b" " * (40 * MEGABYTE))
    yield f"{name} NUL", lambda folder: _write(folder / name, bytes(1000))
    yield f"{name} UTF-16", lambda folder: _write(folder / name, '{"format": 1}'.encode("utf-16"))
    yield f"{name} cut", lambda folder: _write(folder / name, (folder / name).read_bytes()[:-7])
    yield f"{name} a pickle", lambda folder: _write(folder / name, b"cos\nsystem\n(S'true'\ntR.")


def mutated(seed: int, count: int) -> Iterator[tuple[str, Change]]:
    """Yield random damage: bytes flipped, cut out, doubled or overwritten in a file of the folder."""
    draw = random.Random(seed)
    for number in range(count):
        yield f"mutation {seed}.{number}", _mutation(draw.getrandbits(64))


def _mutation(seed: int) -> Change:
    def change(folder: Path) -> None:
        draw = random.Random(seed)
        path = draw.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
        data = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 1, 3, 20))):
            place, size = draw.randrange(len(data) or 1), draw.choice((1, 1, 2, 8, 100))
            kind = draw.randrange(4)
            if kind == 0:
                data[place : place + size] = draw.randbytes(size)
            elif kind == 1:
                del data[place : place + size]
            elif kind == 2:
                data[place:place] = data[place : place + size]
            else:
                data[place:place] = draw.choice((b"9" * 20, b"1e999", b'"', b"{", b"\x00", b"../../", b"-"))
        path.write_bytes(bytes(data))

    return change


def run_trial(model: Path, name: str, change: Change, keep_manifest: bool = False) -> Trial:
    """Change a copy of the folder `model` and open it in a forked process.

    Without `keep_manifest` the manifest goes, since its hashes would hide what lies behind them.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        shutil.copytree(model, folder)
        if not keep_manifest and not name.startswith("manifest"):
            (folder / "manifest.json").unlink(missing_ok=True)
        change(folder)
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        answer = Path(place) / "answer"
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(_open(folder, answer))
        code, seconds = _wait(child, start + 6 * MAX_SECONDS)
        outcome, memory = json.loads(answer.read_text()) if code == 0 else [f"died with {code}", 0]
        return Trial(name, outcome, seconds, memory, 2 * size + EXTRA_MEMORY)


def _wait(child: int, deadline: float) -> tuple[int, float]:
    """Return the exit code of a process and its CPU seconds; one that only waits is killed at the deadline."""
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.002)


def _open(folder: Path, answer: Path) -> int:
    """Open the folder, answer a line with it, and write what happened and the memory that it took."""
    import torch

    from calque.errors import UsageError
    from calque.predict.ensemble import load

    # A forked process must not wait for threads that only its parent has.
    torch.set_num_threads(1)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Twice what is allowed ends the process, so that a hostile folder cannot exhaust the machine of the tester.
    before, descriptor = _peak_memory(), os.open(answer, os.O_WRONLY | os.O_CREAT)
    sys.addaudithook(_refuse)
    try:
        load(folder, device="cpu", engine="eager").best(["a b c"])
        outcome = "answered"
    except UsageError as error:
        text = str(error)
        good = len(text.splitlines()) == 1 and len(text) < 1_000 and text.isprintable()
        outcome = "refused" if good else f"not one line: {text[:200]!r}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {str(error)[:200]}"
    os.write(descriptor, json.dumps([outcome, _peak_memory() - before]).encode())
    return 0


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        raise AssertionError(f"a model folder caused {event}")
    writes = isinstance(args[2] if event == "open" else 0, int) and event == "open" and args[2] & os.O_ACCMODE
    if writes and not str(args[0]).startswith("/dev/"):
        raise AssertionError(f"a model folder caused a write to {args[0]}")


def _setting(path: str, value: Any, raw: bool = False) -> Change:
    def change(folder: Path) -> None:
        recipe = json.loads((folder / "recipe.json").read_text())
        *parents, last = path.split(".")
        part = recipe
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = "@" if raw else value
        text = json.dumps(recipe)
        (folder / "recipe.json").write_text(text.replace('"@"', str(value)) if raw else text)

    return change


def _all(settings: Mapping[str, Any]) -> Change:
    def change(folder: Path) -> None:
        for path, value in settings.items():
            _setting(path, value)(folder)

    return change


def _without(section: str) -> Change:
    def change(folder: Path) -> None:
        recipe = json.loads((folder / "recipe.json").read_text())
        recipe.pop(section)
        (folder / "recipe.json").write_text(json.dumps(recipe))

    return change


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    import safetensors.torch

    path = folder / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    change(tensors)
    safetensors.torch.save_file(tensors, path)


def _poison(tensors: dict[str, Any], value: float) -> None:
    next(iter(tensors.values())).view(-1)[0] = value


def _one_more(tensors: dict[str, Any]) -> None:
    tensors["one.more"] = next(iter(tensors.values())).clone()


def _one_less(tensors: dict[str, Any]) -> None:
    tensors.popitem()


def _cast(kind: str) -> Change:
    def cast(tensors: dict[str, Any]) -> None:
        import torch

        for name in tensors:
            tensors[name] = tensors[name].to(getattr(torch, kind))

    return lambda folder: _rewrite(folder, cast)


def _header_length(length: int) -> Change:
    def change(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])

    return change


def _header(text: bytes) -> Change:
    data = struct.pack("<Q", len(text)) + text + bytes(64)
    return lambda folder: _write(folder / "model.safetensors", data)


def train_tiny(folder: Path) -> Path:
    """Train a tiny model for a few updates and return its folder."""
    import calque

    pairs = folder / "pairs.tsv"
    words = ["one", "two", "three", "four", "five", "six"]
    draw = random.Random(0)
    lines = [" ".join(draw.choices(words, k=3)) for _ in range(200)]
    pairs.write_text("".join(f"{line}\t{line.upper()}\n" for line in lines))
    settings = {"train.max_updates": 4, "train.validate_every": 4, "train.threads": 1, "text.vocab_size": 60}
    calque.train(pairs, out=folder / "tiny", model="transformer", size="tiny", settings=settings, quiet=True)
    return folder / "tiny"


def main() -> int:
    """Print a line for each bad trial and a summary; exit 1 if one is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutated", type=int, default=500, help="number of random mutations")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = train_tiny(Path(place))
        faults = [*crafted(), *mutated(options.seed, options.mutated)]
        trials = [run_trial(model, name, change, name.endswith("0")) for name, change in faults]
    for trial in trials:
        if not trial.is_good:
            print(f"BAD {trial.name}: {trial.outcome}; {trial.seconds:.1f} CPU s, {trial.memory / MEGABYTE:.0f} MB")
    bad = sum(not trial.is_good for trial in trials)
    refused = sum(trial.outcome == "refused" for trial in trials)
    slowest, largest = max(trial.seconds for trial in trials), max(trial.memory for trial in trials)
    print(
        f"{len(trials)} folders: {refused} refused, {len(trials) - refused - bad} answered, {bad} bad;"
        f" slowest {slowest:.2f} CPU s, largest {largest / MEGABYTE:.0f} MB"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
