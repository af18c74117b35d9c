"""Run seeds from the command line: see `tests/simulate --help`."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from simulation.bugs import BUGS, Bug, planted
from simulation.runner import Outcome, simulate

_SHARE = 50


def main() -> int:
    """Run what the arguments ask for; 1 if anything was violated."""
    parser = argparse.ArgumentParser(prog="tests/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--verbose", action="store_true", help="tell every event")
    parser.add_argument(
        "--no-identity", action="store_true", help="no log is cut or deleted, no topic replaced"
    )
    parser.add_argument(
        "--no-missed-tombstones", action="store_true", help="none goes before it was read"
    )
    parser.add_argument("--bugs", action="store_true", help="list the bugs that tests put in")
    parser.add_argument(
        "--bug", choices=[bug.name for bug in BUGS], help="put one in until it is noticed"
    )
    asked = parser.parse_args()
    seeds = range(asked.start, asked.start + asked.seeds)
    options = {
        "identity": not asked.no_identity,
        "missed_tombstones": not asked.no_missed_tombstones,
    }
    if asked.bugs:
        return _list_bugs()
    if asked.bug:
        return _notice(next(bug for bug in BUGS if bug.name == asked.bug), seeds)
    if asked.seed is not None:
        outcome = simulate(asked.seed, trace=print if asked.verbose else None, **options)
        print(_told(outcome))
        return int(bool(outcome.violation))
    return _run_all(seeds, asked.jobs, options)


def _list_bugs() -> int:
    """The table for the documentation."""
    print("| Bug | What is broken | Reported as |\n|---|---|---|")
    for bug in BUGS:
        print(f"| {bug.name} | {bug.what} | {', '.join(sorted(bug.caught_as))} |")
    return 0


def _notice(bug: Bug, seeds: range) -> int:
    """Run seeds with a bug until one notices it which is clean without it; 1: none does."""
    for seed in seeds:
        with planted(bug):
            outcome = simulate(seed)
        if outcome.violation in bug.caught_as and not simulate(seed).violation:
            print(_told(outcome))
            return 0
    print(f"{bug.name}: not noticed")
    return 1


def run_seeds(seeds: range, options: dict[str, bool]) -> list[Outcome]:
    """Run some, one after the other."""
    outcomes = [simulate(seed, **options) for seed in seeds]
    gc.collect()
    return outcomes


def _run_all(seeds: range, jobs: int, options: dict[str, bool]) -> int:
    began = time.monotonic()
    shares = [seeds[at : at + _SHARE] for at in range(0, len(seeds), _SHARE)]
    done = looks = 0
    violated: list[Outcome] = []
    with ProcessPoolExecutor(jobs) as pool:
        for future in as_completed([pool.submit(run_seeds, share, options) for share in shares]):
            outcomes = future.result()
            done += len(outcomes)
            looks += sum(outcome.looks for outcome in outcomes)
            new = [outcome for outcome in outcomes if outcome.violation]
            violated += new
            for outcome in new:
                print(_told(outcome))
            if sys.stderr.isatty():
                print(f"\r{done} of {len(seeds)}", end="", file=sys.stderr, flush=True)
    minutes = (time.monotonic() - began) / 60
    print(
        f"{done} seeds, {len(violated)} violations, {done / minutes:.0f} seeds a minute "
        f"({looks} answers compared)"
    )
    return int(bool(violated))


def _told(outcome: Outcome) -> str:
    text = outcome.text or f"no violation in {outcome.looks} answers"
    return f"seed {outcome.seed}: {text} [trace {outcome.digest:08x}]"


if __name__ == "__main__":
    sys.exit(main())
