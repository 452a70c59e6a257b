"""Seconds of one batch in every engine and in CTranslate2 at equal work: random weights, outputs of one fixed length.

    python benchmarks/engines.py                     # the Transformer 256/1024, 4 + 4 layers, 8,000 pieces
    python benchmarks/engines.py --rounds 9 --length 20

One thread, engines in turn, median and range over rounds. Outputs end only at their limit, so that every engine makes
as many steps; what a trained model's search does otherwise is measured by `benchmarks/speed/run.py decode`.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from calque.catalog import architecture
from calque.data.collate import collate_sources
from calque.engines.choice import ENGINES, Opened
from calque.engines.ctranslate2.spec import library, numbered, write_model
from calque.ids import EOS
from calque.model import ModelConfig, Seq2Seq, build
from calque.search.options import SearchConfig
from calque.text.source import plain_sources

PIECES = 8000
OWN = ("eager", "fused", "compiled", "int8")
THEIRS = ("float32", "int8")
# Rows of a batch, beam.
CASES = ((64, 1), (64, 5), (1, 1), (1, 5))
Run = Callable[[], object]


def random_model(config: ModelConfig) -> Seq2Seq:
    """Return a model that never ends a sentence by itself."""
    torch.manual_seed(1)
    model = build(config, PIECES, PIECES).eval()
    with torch.no_grad():
        model.head.projection.bias[EOS] = -100.0
    return model


def runs(model: Seq2Seq, config: ModelConfig, folder: Path, batch: int, beam: int, length: int) -> dict[str, Run]:
    """Return what searches one batch of sources of `length` tokens, by name."""
    draws = random.Random(1)
    sources = [[draws.randrange(4, PIECES) for _ in range(length - 1)] for _ in range(batch)]
    record = collate_sources(plain_sources(sources))
    options = SearchConfig(beam=beam, max_length_ratio=0.0, max_length_extra=length)
    found: dict[str, Run] = {}
    for name in OWN:
        engine, said = ENGINES[name](Opened(model, config, folder))
        assert said.startswith(name), said
        found[name] = lambda engine=engine: engine(
            record, record.mask.sum(1), torch.empty(batch, 0, dtype=torch.int64), options
        )
    names = numbered(PIECES)
    words = [[names[token] for token in source] for source in sources]
    limits = {"beam_size": beam, "max_decoding_length": length, "max_batch_size": 0}
    for kind in THEIRS:
        translator = library().Translator(str(folder), device="cpu", compute_type=kind, intra_threads=1)
        found[f"ctranslate2 {kind}"] = lambda translator=translator: translator.translate_batch(words, **limits)
    return found


def timed(found: dict[str, Run], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return the milliseconds of each, in turn, for so many rounds after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name, run in found.items():
            start = time.perf_counter()
            for _ in range(repeats):
                run()
            if number:
                seconds[name].append((time.perf_counter() - start) / repeats * 1e3)
    return seconds


def main() -> None:
    """Print a table for each size of batch and beam."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=14, help="tokens of a source, and of an output")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = ModelConfig.model_validate(architecture("transformer", "small") | {"tie_embeddings": "all"})
    model = random_model(config)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        write_model(folder, config, model.state_dict(), (numbered(PIECES), numbered(PIECES)))
        for batch, beam in CASES:
            searches = runs(model, config, folder, batch, beam, options.length)
            found = timed(searches, options.rounds, 5 if batch == 1 else 1)
            middle = {name: statistics.median(values) for name, values in found.items()}
            print(f"\nbatch {batch}, beam {beam}\n")
            print("| engine | ms a batch | range | CTranslate2 fp32 ÷ it | CTranslate2 int8 ÷ it |")
            print("| --- " * 5 + "|")
            for name, values in found.items():
                ratios = " | ".join(f"{middle[f'ctranslate2 {kind}'] / middle[name]:.2f}" for kind in THEIRS)
                print(f"| {name} | {middle[name]:.1f} | {min(values):.1f}–{max(values):.1f} | {ratios} |")


if __name__ == "__main__":
    main()
