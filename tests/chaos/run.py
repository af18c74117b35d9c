"""The chaos run: faults by a seeded schedule over a constant writer; see `--help`.

Everything that happens is recorded (`history`), and judged from the records alone when
all is over (`checks`). Exit code 1 means a violation; the histories stay where they are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

if __name__ == "__main__":  # started by `run`; pytest has the folder on its path
    sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.checks import check
from chaos.cluster import TOPIC, site
from chaos.faults import FAULTS, IDENTITY_FAULTS, Stage, schedule, strike
from chaos.history import History, Recorder, now, text_of
from chaos.readers import TABLE, Monitor, Readers, read_table
from chaos.report import summary
from chaos.writer import Board, Writers
from support.oracle import read_topic
from support.serving import Serving, free_address

__all__ = ["Plan", "main", "perform"]

_RECOVERY_S = 45.0
_RETENTION_MS = 120_000


@dataclass(frozen=True)
class Plan:
    """What a run is to be.

    Attributes:
        seconds: how long faults are begun.
        faults: at most so many.
        kinds: of which.
        delete_retention_ms: how long tombstones outlive their cleaning. A sidecar that is
            behind for longer may miss one for good.
    """

    seconds: float
    seed: int = 1
    faults: int = 10_000
    kinds: frozenset[str] = field(default=FAULTS)
    delete_retention_ms: int = _RETENTION_MS


def perform(plan: Plan, folder: Path) -> None:
    """Run it, and leave the histories in `folder`; what it does is printed."""
    with ExitStack() as stack:
        record = {
            name: stack.enter_context(Recorder(folder, name))
            for name in ("writes", "faults", "monitor", "topics", "final")
        }
        place = stack.enter_context(site(record["topics"]))
        place.create_topic(plan.delete_retention_ms)
        endpoint, http, board = free_address(), free_address(), Board()

        def start_sidecar() -> Serving:
            at = ("--bootstrap-servers", place.proxied, "--table", f"{TABLE}={TOPIC}")
            return stack.enter_context(Serving(folder, *at, listen=endpoint, http=http))

        def start_writers() -> Writers:
            writers = Writers(place, record["writes"], board, plan.seed)
            writers.start()
            return writers

        writers = start_writers()
        time.sleep(3)  # something to read before the sidecar is there
        monitor = Monitor(endpoint, record["monitor"])
        readers = Readers(endpoint, folder, place, board, plan.seed)
        stage = Stage(
            place, start_sidecar(), writers, start_sidecar, start_writers, plan.delete_retention_ms
        )
        # Whatever happens, nobody goes on into files that are closed.
        stack.callback(lambda: _end_all(stage.writers, readers, monitor))
        monitor.start()
        readers.start()
        _strike_all(plan, stage, monitor, record["faults"])
        stage.writers.stop()
        _settle(stage, monitor)
        readers.stop()
        _note_final(stage, endpoint, record["final"])
        monitor.ending.set()
        monitor.join(30)
        if monitor.failure is not None:
            raise monitor.failure
        record["final"].note(op="exit", code=stage.sidecar.stop(), traceback=_tracebacks(folder))


def _strike_all(plan: Plan, stage: Stage, monitor: Monitor, record: Recorder) -> None:
    begun = now()
    _wait_fresh(stage, monitor, begun)
    for fault in schedule(plan.seed, plan.kinds):
        passed = now() - begun
        if passed > plan.seconds or fault.number >= plan.faults or not stage.sidecar.running:
            break
        stage.writers.check()
        where = f" node {fault.node}" if fault.node else ""
        print(f"{passed:6.1f} s  {fault.kind}{where}", end="", flush=True)
        event = strike(stage, fault, record)
        healed = event["healed"]
        known = _wait_fresh(stage, monitor, healed)
        how = f"current again after {now() - healed:.1f} s" if known else "NOT CURRENT AGAIN"
        print(f" for {event['healing'] - event['applied']:.1f} s, {how}", flush=True)
        stage.site.wait_in_sync()
        time.sleep(fault.quiet)


def _wait_fresh(stage: Stage, monitor: Monitor, since: float) -> bool:
    """Wait until the sidecar knows all there was at `since`, for a while; whether it does."""
    end = now() + _RECOVERY_S
    while now() < end and stage.sidecar.running:
        if monitor.fresh_as_of >= since:
            return True
        time.sleep(0.05)
    return False


def _settle(stage: Stage, monitor: Monitor) -> None:
    """No fault, no writer: all that there is gets read, also what waits for an aborted end."""
    stage.site.wait_in_sync()
    _wait_fresh(stage, monitor, now())


def _end_all(writers: Writers, readers: Readers, monitor: Monitor) -> None:
    threads = [*writers.threads, *readers.threads, monitor]
    for thread in threads:
        thread.ending.set()
    for thread in filter(Thread.is_alive, threads):
        thread.join(60)


def _note_final(stage: Stage, endpoint: str, record: Recorder) -> None:
    if not stage.sidecar.running:
        record.note(op="ended", code=stage.sidecar.wait(), tail=stage.sidecar.lines[-12:])
        return
    record.note(op="table", at=now(), **read_table(endpoint))
    log = read_topic(stage.site.direct, TOPIC)
    rows = [
        [text_of(one.key), text_of(one.value), one.partition, one.offset, one.timestamp_ms]
        for each in log.values()
        for one in each
    ]
    record.note(op="log", topic_id=stage.site.topic_id, records=rows)


def _tracebacks(folder: Path) -> int:
    logs = folder.glob("sidecar-*.log")
    return sum(path.read_text(errors="replace").count("Traceback") for path in logs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/chaos/run",
        description="Faults over a constant writer; all is recorded, then judged.",
    )
    parser.add_argument("--minutes", type=float, default=10, help="how long faults are begun")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=10_000, help="at most so many faults")
    parser.add_argument(
        "--faults",
        default="",
        help=f"kinds, by commas: {', '.join(sorted(FAULTS | IDENTITY_FAULTS))}",
    )
    parser.add_argument(
        "--identity", action="store_true", help="also those that make the topic another one"
    )
    parser.add_argument("--folder", type=Path, help="where the histories go")
    parser.add_argument(
        "--check", type=Path, metavar="FOLDER", help="judge the histories of an earlier run"
    )
    return parser.parse_args()


def main() -> int:
    """Run as the arguments say; 1: there were violations."""
    given = _arguments()
    folder = given.check or given.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    if not given.check:
        folder.mkdir(parents=True, exist_ok=True)
        kinds = frozenset(filter(None, given.faults.split(","))) or FAULTS
        kinds |= IDENTITY_FAULTS if given.identity else frozenset()
        if unknown := kinds - FAULTS - IDENTITY_FAULTS:
            print(f"no such faults: {', '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        print(f"histories: {folder}", flush=True)
        perform(Plan(given.minutes * 60, given.seed, given.most, kinds), folder)
    history = History.load(folder)
    verdict = check(history)
    print(summary(history, verdict))
    print(f"histories: {folder}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
