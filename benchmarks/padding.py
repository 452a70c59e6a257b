"""Print the share of empty cells in the batches of a run: python benchmarks/padding.py RUN."""

import json
import sys
from pathlib import Path

from calque.data.batches import padding_share, plan_epoch
from calque.data.store.token_store import TokenStore


def main(run: Path) -> None:
    """Measure the first epoch of a run whose token store is still there, at several sizes of piece."""
    train = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["train"]
    (folder,) = [path.parent for path in (run / "data").glob("*/store.json")]
    store = TokenStore.open(folder)
    print(
        f"{len(store):,} pairs; the run has batch_tokens {train['batch_tokens']}, piece_tokens {train['piece_tokens']}"
    )
    for batch_tokens, piece_tokens in ((train["batch_tokens"], train["piece_tokens"]), (4096, 1024), (8192, 4096)):
        updates = list(plan_epoch(store, train["seed"], 0, batch_tokens, piece_tokens))
        pieces = [piece for update in updates for piece in update]
        share = padding_share(store, pieces)
        counts = f"{len(updates)} updates, {len(pieces)} pieces"
        print(f"batch {batch_tokens}, piece {piece_tokens}: {counts}, {share:.2%} empty")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
