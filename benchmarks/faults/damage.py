"""Truncate, flip a byte of, or delete a file of a checkpoint: it is never loaded silently (T6).

    python benchmarks/faults/damage.py                   # 100 damages, a few seconds
    python benchmarks/faults/damage.py --damages 1200    # under a minute

saves two checkpoints of a tiny training, damages the newer one in a copy, and loads: the older one must be loaded with
exactly one warning that names the damaged one. A damaged file RUN/latest must not hide the newest checkpoint.
"""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from trials import options, reported, train, workplace


def damaged(path: Path, draw: random.Random) -> str:
    """Damage a file at random; return what was done."""
    data = bytearray(path.read_bytes())
    kind = draw.choice(("cut", "flip", "delete", "double")) if data else "delete"
    if kind == "delete":
        path.unlink()
        return "deleted"
    place = draw.randrange(len(data))
    if kind == "cut":
        data = data[:place]
    elif kind == "double":
        data[place:place] = data[place : place + 8]
    else:
        data[place] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(data))
    return f"{kind} at byte {place}"


def damages(folder: Path, data: Path, numbers: range, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each damage and the faults that it led to."""
    from calque.errors import CalqueError
    from calque.folder.checkpoint import load_checkpoint

    assert train(data, folder / "whole") == 0
    names = sorted(path.name for path in (folder / "whole/checkpoints").glob("step-*"))
    assert len(names) == 2, names
    for number in numbers:
        draw, run = random.Random(f"{seed} {number}"), folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        (run / "checkpoints").mkdir(parents=True)
        for name in names:
            shutil.copytree(folder / "whole/checkpoints" / name, run / "checkpoints" / name)
        shutil.copy(folder / "whole/latest", run / "latest")
        files = [*sorted((run / "checkpoints" / names[1]).iterdir()), run / "latest"]
        path = draw.choice(files)
        name, warnings, problems = f"{path.name} {damaged(path, draw)}", list[str](), list[str]()
        try:
            found = load_checkpoint(run, warnings.append)
            loaded = "nothing" if found is None else found[0]
        except CalqueError as error:
            loaded = f"an error: {error}"
        # An absent `latest` is legal: the newest checkpoint counts.
        wanted, most = (names[1], 1) if path.name == "latest" else (names[0], 1)
        if path.name == "latest" and loaded == names[0]:
            wanted = loaded
        if loaded != wanted:
            problems.append(f"loaded {loaded} instead of {wanted}")
        if len(warnings) > most or (path.name != "latest" and (len(warnings) != 1 or names[1] not in warnings[0])):
            problems.append(f"warnings: {warnings}")
        yield name, problems


def main() -> int:
    """Print a summary; exit 1 at the first fault."""
    assert __doc__
    parser = options(__doc__, "damages", 100, "number of damages")
    parser.add_argument("--first", type=int, default=0, help="number of the first damage (default: 0)")
    chosen = parser.parse_args()
    with workplace(chosen.seed) as (folder, data):
        numbers = range(chosen.first, chosen.first + chosen.damages)
        trials = damages(folder, data, numbers, chosen.seed)
        return reported(
            trials, "damages", lambda number: f"--first {chosen.first + number} --damages 1 --seed {chosen.seed}"
        )


if __name__ == "__main__":
    sys.exit(main())
