"""Measure calque and its peers in turn on this machine and print ratios.

    python benchmarks/speed/run.py peers                      # make the peers' environments, once
    python benchmarks/speed/run.py roofs                      # what the silicon gives
    python benchmarks/speed/run.py train                      # the Transformer; --architecture lstm for the other
    python benchmarks/speed/run.py decode --model RUN         # RUN: a Transformer trained by calque
    python benchmarks/speed/run.py start --model RUN
    python benchmarks/speed/run.py cost --model RUN           # against length, batch, beam, vocabulary, data, lines
    python benchmarks/speed/run.py goal                       # hours: time to a BLEU, calque and a peer
    python benchmarks/speed/run.py plot                       # the picture of cost
    python benchmarks/speed/run.py table                      # Markdown of all that was measured

Data: Multi30k in the folder that CALQUE_DATA names. Results are appended to results.jsonl in --out.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.speed import machine, table
from benchmarks.speed.rounds import Plan

CACHE = Path("~/.cache/calque-peers").expanduser()


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=Path("speed-results"), help="folder of results and scratch files")
    shared.add_argument("--peers", type=Path, default=CACHE, help="folder of the peers' environments")
    shared.add_argument("--rounds", type=int, default=5, help="rounds in which every system runs once")
    shared.add_argument("--no-sweep", action="store_true", help="take each system's first setting")
    shared.add_argument("--systems", nargs="*", help="only these")
    shared.add_argument("--model", type=Path, help="a Transformer's folder")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, (_, text) in VERBS.items():
        verb = verbs.add_parser(name, parents=[shared], help=text)
        if name in ("train", "decode"):
            verb.add_argument("--no-roofs", action="store_true", help="do not measure the roofs first")
        if name == "train":
            verb.add_argument("--architecture", choices=("transformer", "lstm"), default="transformer")
            verb.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
            verb.add_argument("--tokens", type=int, default=4096, help="target tokens of an update")
            verb.add_argument("--warmup", type=int, default=3, help="updates before the clock starts")
            verb.add_argument("--updates", type=int, default=10, help="updates on the clock")
        if name == "decode":
            verb.add_argument("--lines", type=int, default=1000, help="sentences of the test set")
            verb.add_argument("--single", type=int, default=200, help="sentences for batches of one")
            verb.add_argument("--fast", type=Path, help="folder of a quicker model, to take part beside --model")
            verb.add_argument("--modes", nargs="*", help="such as 'greedy, batch 64'")
        if name == "cost":
            verb.add_argument("--threads", type=int, default=2)
            verb.add_argument("--parts", nargs="*", default=["decoding", "data", "lines"], help="some of these")
            verb.add_argument("--pairs", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
            verb.add_argument("--lines", type=int, default=20_000, help="lines of the long file that is decoded")
        if name == "goal":
            _add_goal(verb)
        if name == "roofs":
            verb.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    return parser.parse_args()


def _add_goal(verb: argparse.ArgumentParser) -> None:
    """Add what says which score is reached, and how."""
    verb.add_argument("--target", type=float, default=36.0, help="BLEU of a validation that ends training")
    verb.add_argument("--limit", type=float, default=360.0, help="minutes after which the next validation is the last")
    verb.add_argument("--size", choices=("small", "tiny"), default="small", help="of the Transformer")
    verb.add_argument("--layers", type=int, nargs=2, default=(4, 4), help="of its encoder and its decoder")
    verb.add_argument("--epochs", type=int, default=8, help="until the end of the rates' schedule")
    verb.add_argument("--every", type=int, default=200, help="updates between validations")
    verb.add_argument("--tokens", type=int, default=2048, help="target tokens of an update")
    verb.add_argument("--pieces", type=int, default=8000, help="of the joint vocabulary")
    verb.add_argument("--dropout", type=float, default=0.3)
    verb.add_argument("--lr", type=float, default=0.001, help="highest rate")
    verb.add_argument("--seed", type=int, default=1)
    verb.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="Marian has fp32 alone")
    verb.add_argument("--set", nargs="*", default=[], help="fields of the recipe for calque train")


def make_peers(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Make the environments."""
    from benchmarks.speed import peers

    options.peers.mkdir(parents=True, exist_ok=True)
    peers.make(options.peers, options.systems or [], journal)


def run_roofs(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure the roofs."""
    from benchmarks.speed import roofs

    journal.begin()
    roofs.run(journal, options.out, tuple(options.threads))


def run_train(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure training, the roofs in the same run before it."""
    from benchmarks.speed import data, roofs, training

    silicon = journal.begin()
    prepared = data.prepare(options.out)
    if not options.no_roofs:
        roofs.run(journal, options.out, (1, 2))
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if machine.has_bf16(silicon) else "fp32"
    task = training.Task(options.architecture, precision, options.tokens, options.warmup, options.updates)
    bench = training.Bench(task, prepared, options.peers, options.out, journal)
    names = _names(options, list(training.TRAINERS))
    bench.run(names, Plan(options.rounds, not options.no_sweep))


def run_decode(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure decoding."""
    from benchmarks.speed import data, decoding, roofs

    journal.begin()
    if not options.no_roofs:
        roofs.run(journal, options.out, (1, 2))
    test = data.raw_folder() / data.PARTS["test"]
    text = decoding.read_text(test, options.lines, options.single)
    modes = [mode for mode in decoding.MODES if not options.modes or mode.name in options.modes]
    bench = decoding.Bench(_model(options), options.fast, text, options.peers, options.out, journal)
    bench.run(_names(options, list(decoding.DECODERS)), modes, Plan(options.rounds, not options.no_sweep))


def run_start(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure the start."""
    from benchmarks.speed import start

    journal.begin()
    start.run(_model(options), options.out, journal, options.rounds)


def run_cost(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure cost against work."""
    from benchmarks.speed import cost

    journal.begin()
    if "decoding" in options.parts:
        cost.decoding(_model(options), options.out, journal, options.threads)
    if "lines" in options.parts:
        cost.many_lines(_model(options), options.out, journal, options.threads, options.lines)
    if "data" in options.parts:
        cost.data_sizes(options.out, journal, options.threads, tuple(options.pairs))


def run_goal(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Measure the time to a score."""
    from benchmarks.speed import data, goal

    journal.begin()
    names = ("target", "every", "limit", "size", "dropout", "lr", "epochs", "pieces", "precision", "seed")
    asked = {name: getattr(options, name) for name in names}
    wanted = goal.Goal(**asked, batch=options.tokens, layers=tuple(options.layers), sets=tuple(options.set))
    bench = goal.Bench(wanted, data.prepare(options.out, options.pieces), options.peers, options.out, journal)
    bench.run(_names(options, list(goal.SYSTEMS)))


def draw_plot(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Draw cost against work."""
    from benchmarks.speed import plot

    plot.draw(machine.read_journal(options.out), options.out / "cost.svg")


def print_table(options: argparse.Namespace, journal: machine.Journal) -> None:
    """Print what was measured."""
    print(table.markdown(machine.read_journal(options.out)))


VERBS = {
    "peers": (make_peers, "make the peers' environments"),
    "roofs": (run_roofs, "measure products and memory"),
    "train": (run_train, "measure training"),
    "decode": (run_decode, "measure decoding"),
    "start": (run_start, "measure the start of the command line"),
    "cost": (run_cost, "measure cost against work"),
    "goal": (run_goal, "measure the time to a score"),
    "plot": (draw_plot, "draw cost against work"),
    "table": (print_table, "print the results as Markdown"),
}


def _names(options: argparse.Namespace, known: list[str]) -> list[str]:
    """Return the systems that were named; all when none was."""
    wrong = [name for name in options.systems or [] if name not in known]
    if wrong:
        raise SystemExit(f"no system {', '.join(wrong)}; there are {', '.join(known)}")
    return options.systems or known


def _model(options: argparse.Namespace) -> Path:
    if options.model is None or not (options.model / "recipe.json").is_file():
        raise SystemExit("--model must name the folder of a Transformer that calque trained")
    return options.model


def main() -> None:
    """Run one verb."""
    options = arguments()
    VERBS[options.verb][0](options, machine.Journal(options.out))


if __name__ == "__main__":
    main()
