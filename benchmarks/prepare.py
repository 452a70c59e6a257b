"""Write data sets in a form that models learn better from: `python benchmarks/prepare.py NAME OUT`.

The data are read from the folder in CALQUE_DATA; OUT is a new folder outside of it.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

DATA = Path(os.environ.get("CALQUE_DATA", "../shared/data"))


def webnlg(out: Path) -> None:
    """Write the graphs of WebNLG 2017 with the underscores of names turned to blanks, and the texts as they are."""
    for part in ("train", "dev", "test_seen"):
        with (out / f"{part}.jsonl").open("w", encoding="utf-8") as file:
            for line in (DATA / "webnlg2017" / f"{part}.jsonl").open(encoding="utf-8"):
                graph = json.loads(line)
                triples = [[name.replace("_", " ").strip() for name in triple] for triple in graph["triples"]]
                pair = {"source": triples, "target": graph["texts"]}
                file.write(json.dumps(pair, ensure_ascii=False) + "\n")


def geoquery(out: Path) -> None:
    """Write questions and SQL of GeoQuery with quotation marks apart, so that a value is the word of the question."""
    for part in ("train", "dev", "test"):
        with (out / f"{part}.tsv").open("w", encoding="utf-8") as file:
            for line in (DATA / "geoquery" / f"{part}.tsv").open(encoding="utf-8"):
                question, query = line.rstrip("\n").split("\t")
                file.write(f"{question}\t{_apart(query)}\n")


def _apart(query: str) -> str:
    return " ".join(query.replace('"', ' " ').split())


NAMES: dict[str, Callable[[Path], None]] = {"webnlg": webnlg, "geoquery": geoquery}

if __name__ == "__main__":
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True)
    NAMES[name](folder)
