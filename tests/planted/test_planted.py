"""Bugs put in on purpose: each must turn a test red, or the test proves nothing.

A bug is a text of the source and what stands there instead. The sidecar is copied, the bug
put into the copy, and the tests that are to catch it are run against that, in a process of
their own. That they pass against the sound source is what the rest of the suite shows.
`tests/README.md` says which invariant each of them is for; more are planted by the
simulation, in the process itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import sidecar

TESTS = Path(__file__).parents[1]
FAILED = 1  # pytest's exit code: tests ran, and some failed


class Bug(NamedTuple):
    """What it breaks, in which invariant's words; `tests` is a file and a word of test names."""

    invariant: str
    what: str
    module: str
    sound: str
    broken: str
    tests: tuple[str, str]


BUGS = {
    "holes-are-whole": Bug(
        "I1", "a state that lacks what compaction took away counts as a moment's",
        "core/progress.py", "return self.position >= self.freshness.whole_at", "return True",
        ("component/test_follower_holes.py", "bootstrap"),
    ),
    "absent-before-ready": Bug(
        "I2", "a key is absent although the table is still being read",
        "core/view.py", "if not self.ready and not partial:", "if False and not partial:",
        ("unit/test_core_view.py", "never_says_absent"),
    ),
    "partitions-not-followed": Bug(
        "I3", "an added partition is not read",
        "kafka/topology.py", "await self._add(with_leader, metadata.sent_at)", "pass",
        ("component/test_reader_errors.py", "added_partition_is_followed"),
    ),
    "aborted-records": Bug(
        "I4", "what an aborted transaction wrote is applied",
        "kafka/batches.py", "dropped = bool(span.attributes & _TRANSACTIONAL) and",
        "dropped = False and",
        ("unit/test_kafka_assignment.py", "aborted_records"),
    ),
    "open-transaction-for-ever": Bug(
        "I5", "an open transaction is waited for without an end",
        "core/progress.py",
        "return replace(self, target=min(self.target, self.bounds.last_stable_offset))",
        "return self",
        ("component/test_follower_holes.py", "open_transaction"),
    ),
    "empty-is-tombstone": Bug(
        "I6", "an empty value removes its key",
        "core/table.py", "elif value is None:", "elif not value:",
        ("unit/test_core_table.py", "empty_value"),
    ),
    "undecodable-is-lost": Bug(
        "I7", "a value that cannot be decoded comes without its bytes",
        "rpc/records.py", "record.raw_value = ", "_ = ",
        ("component/test_rpc_lookups.py", "cannot_be_decoded"),
    ),
    "wrong-crc": Bug(
        "I8", "a batch with a wrong checksum is believed",
        "kafka/batches.py", "!= span.crc:", "== -1:",
        ("component/test_reader_errors.py", "stop_the_partition"),
    ),
    "skip-uncounted": Bug(
        "I8", "a batch that is passed over is not counted",
        "core/view.py", "self._table.counters.skipped_batches += 1", "pass",
        ("component/test_follower_bad_batches.py", "passed_over"),
    ),
    "position-goes-back": Bug(
        "I9", "a position goes back",
        "core/progress.py", "position = max(self.position, position)\n", "position += 0\n",
        ("unit/test_core_progress.py", "never_goes_back"),
    ),
    "resume-plus-one": Bug(
        "I9", "the next fetch begins one offset too far",
        "kafka/assignment.py", "self.offset = max(self.offset, spans[-1].next_offset)",
        "self.offset = max(self.offset, spans[-1].next_offset + 1)",
        ("unit/test_kafka_assignment.py", "next_fetch_begins"),
    ),
    "bound-answered-early": Bug(
        "I10", "a bound holds one offset early",
        "core/view.py", "if known.position < needed:", "if known.position < needed - 1:",
        ("component/test_rpc_freshness.py", "acknowledged"),
    ),
    "fresh-as-of-arrival": Bug(
        "I11", "fresh as of when an answer came, not of when it was asked for",
        "kafka/reader.py", "sent_at=flight.sent_at,", "sent_at=arrived_at,",
        ("component/test_follower_freshness.py", "socket"),
    ),
    "new-leader-counts-at-once": Bug(
        "I11", "a new leader's high watermark counts before it knows its end",
        "core/progress.py", "self.freshness._replace(marks=(), counts_from=inf)",
        "self.freshness._replace(marks=())",
        ("component/test_reader_elections.py", "does_not_know_its_end"),
    ),
    "multi-get-in-steps": Bug(
        "I12", "the keys of one MultiGet are read at different moments",
        "rpc/lookups.py", "entries = reading.table.get_many(keys)",
        "entries = [(await asyncio.sleep(0), reading.table.get(key))[1] for key in keys]",
        ("component/test_rpc_lookups.py", "one_moment"),
    ),
    "resumed-backwards": Bug(
        "I13", "what was missed comes in the wrong order",
        "core/events.py", "return newer[::-1]", "return newer",
        ("unit/test_core_watch.py", "at_every_mark"),
    ),
    "resumed-with-a-gap": Bug(
        "I14", "a watch goes on although what came between is gone",
        "core/watch.py", "if not self._past.since <= revision <= self.view.table.revision:",
        "if False:",
        ("unit/test_core_watch.py", "no_longer_holds"),
    ),
    "progress-too-early": Bug(
        "I15", "positions are told while entries are hidden only",
        "rpc/sending.py", "if not view.table.swept:", "if False:",
        ("component/test_rpc_watch.py", "hidden_only"),
    ),
    "snapshot-of-two-moments": Bug(
        "I16", "changes come before the snapshot of their keys",
        "core/watch.py", "if self.lagged or ahead:", "if self.lagged:",
        ("unit/test_core_watch.py", "walk_meets_each_dict"),
    ),
    "filter-leaks": Bug(
        "I17", "a watch of a range is told of every key",
        "core/watch.py", "if follower.wanted.keys.holds(key):", "if True:",
        ("unit/test_core_watch.py", "of_no_other"),
    ),
    "slow-watch-kept": Bug(
        "I18", "what waits for a watch has no bound",
        "core/watch.py", "if self.weight > self.wanted.limit:", "if False:",
        ("unit/test_core_watch.py", "falls_behind"),
    ),
    "re-created-unnoticed": Bug(
        "I19", "another topic of the same name is taken for the same",
        "kafka/topology.py", "if not metadata.error_code and metadata.topic_id != topic.id:",
        "if False:",
        ("component/test_follower_generations.py", "re_created_topic_answers_nothing"),
    ),
    "cut-unnoticed": Bug(
        "I19", "a log that was cut and has grown again is read on",
        "kafka/assignment.py", "self._check_divergence(*answer.diverging)", "pass",
        ("component/test_follower_generations.py", "cut_log_is_read_anew"),
    ),
    "missed-tombstones": Bug(
        "I20", "keys whose tombstones were compacted away stay",
        "core/confirm.py",
        "return word is not None and offset_of(word) < end and not is_tombstone(word)",
        "return False",
        ("component/test_follower_confirming.py", "unread"),
    ),
    "no-doubt": Bug(
        "I20", "a long gap raises no doubt",
        "core/view.py", "if brings and fetched.arrived_at > known.freshness.complete_until:",
        "if False:",
        ("component/test_follower_confirming.py", "unread"),
    ),
    "log-start-ignored": Bug(
        "I20", "entries below the log's start stay",
        "core/view.py", "self._table.raise_floor(number, fetched.bounds.log_start_offset)", "pass",
        ("unit/test_core_view.py", "below_the_log_start"),
    ),
    "bootstrap-addresses-forgotten": Bug(
        "I22", "the bootstrap addresses are not tried again",
        "kafka/cluster.py", "return list(dict.fromkeys(chain(known, self.settings.bootstrap)))",
        "return known or list(self.settings.bootstrap)",
        ("component/test_reader_leaders.py", "bootstrap_addresses"),
    ),
    "streams-outlive-the-stop": Bug(
        "I23", "endless calls are left to end by themselves",
        "rpc/calls.py", "if endless)", "if False)",
        ("component/test_rpc_server.py", "ended_at_once"),
    ),
    "no-budget": Bug(
        "I24", "a build takes what memory it wants",
        "follower/feed.py", 'lacks = "" if view.ready else self._setting.budget.lacks()',
        'lacks = ""',
        ("component/test_follower_memory.py", "first_build"),
    ),
    "no-cap": Bug(
        "I24", "a batch may unpack to any size",
        "kafka/unpack.py", "if size >= limit:", "if False:",
        ("unit/test_kafka_unpack.py", "gigabyte"),
    ),
    "password-shown": Bug(
        "I25", "the password is in what `config show` prints",
        "ops/settings.py", 'alias="sasl.password", repr=False, exclude=True',
        'alias="sasl.password"',
        ("unit/test_config_command.py", "without_secrets"),
    ),
    "foreign-debug-logs": Bug(
        "I25", "aiokafka may log at DEBUG, where it prints the SASL payload",
        "ops/logs.py", "max(threshold, logging.WARNING)", "threshold",
        ("component/test_ops_logs.py", "below_warning"),
    ),
    "decoder-has-the-last-word": Bug(
        "I26", "a header key that is not UTF-8 stops the table",
        "core/view.py", "if batch.again is None:", "if True:",
        ("component/test_reader_errors.py", "no_utf8"),
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_it_is_caught(name, tmp_path):
    bug = BUGS[name]
    source = Path(sidecar.__file__).parent
    shutil.copytree(source, tmp_path / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "sidecar" / bug.module
    text = module.read_text(encoding="utf-8")
    assert text.count(bug.sound) == 1, "the source has moved on: plant the bug where it is now"
    module.write_text(text.replace(bug.sound, bug.broken), encoding="utf-8")
    file, word = bug.tests
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-k", word, "-p", "no:cacheprovider",
         str(TESTS / file)],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )  # fmt: skip
    assert done.returncode == FAILED, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_readme_of_the_tests_names_each():
    told = (TESTS / "README.md").read_text(encoding="utf-8")
    assert not [name for name in BUGS if f"`{name}`" not in told]
