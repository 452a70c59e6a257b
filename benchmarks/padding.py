"""Print the share of empty cells in the batches of a run: python benchmarks/padding.py RUN."""

import json
import sys
from pathlib import Path

from calque.data.batches import padding_share, plan_epoch
from calque.data.store.token_store import TokenStore


def main(run: Path) -> None:
    """Measure the first epoch of a run whose token store is still there, with micro-batches of several sizes."""
    train = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["train"]
    (folder,) = [path.parent for path in (run / "data").glob("*/store.json")]
    store = TokenStore.open(folder)
    own = train["batch_tokens"], train["micro_batch_tokens"]
    print(f"{len(store):,} pairs; the run has batch_tokens {own[0]}, micro_batch_tokens {own[1]}")
    for batch_tokens, micro_batch_tokens in (own, (4096, 1024), (8192, 4096)):
        updates = list(plan_epoch(store, train["seed"], 0, batch_tokens, micro_batch_tokens))
        micro_batches = [micro_batch for update in updates for micro_batch in update]
        share = padding_share(store, micro_batches)
        counts = f"{len(updates)} updates, {len(micro_batches)} micro-batches"
        print(f"batch {batch_tokens}, micro-batch {micro_batch_tokens}: {counts}, {share:.2%} empty")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
