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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import kafka_cache_client
import pytest

import sidecar

TESTS = Path(__file__).parents[1]
CLIENT = "kafka_cache_client/"
FAILED = 1  # pytest's exit code: tests ran, and some failed


class Bug(NamedTuple):
    """What it breaks, in which invariant's words; `tests` is a file and a word of test names.

    `module` is below `sidecar`, or of the Python client.
    """

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
        "core/packed.py", "return older + newer[::-1]", "return older + newer",
        ("unit/test_core_watch.py", "at_every_mark"),
    ),
    "resumed-with-a-gap": Bug(
        "I14", "a watch goes on although what came between is gone",
        "core/watch.py", "if not self._past.since <= revision <= self.view.table.revision:",
        "if False:",
        ("unit/test_core_watch.py", "no_longer_holds"),
    ),
    "changed-hands-untold": Bug(
        "I14", "of a key of several partitions only what is behind the positions is told",
        "core/watch.py", "if last == event.revision:",
        "if last == event.revision and event.behind(positions):",
        ("unit/test_core_watch.py", "in_another_order"),
    ),
    "cut-for-ever": Bug(
        "I14", "a watch resumes where more waits than may wait, and is cut there, each time anew",
        "core/watch.py", "if follower.lagged:\n            raise Expired",
        "if False:\n            raise Expired",
        ("component/test_watch_failures.py", "backlog_is_more"),
    ),
    "progress-too-early": Bug(
        "I15", "positions are told while entries are hidden only",
        "rpc/sending.py", "if not view.table.swept:", "if False:",
        ("component/test_rpc_watch.py", "hidden_only"),
    ),
    "dropped-told-as-sent": Bug(
        "I15", "what was dropped while a watch waited for its turn is marked as sent",
        "rpc/sending.py", "(again=True)\n            self._check()\n", "(again=True)\n",
        ("component/test_rpc_watch.py", "dropped_in_the_moment"),
    ),
    "mark-does-not-age": Bug(
        "I11", "a mark that could not be sent says the age that it had before",
        "rpc/sending.py", "since_ms = max(0, ceil((now - self.at) * 1000))", "since_ms = 0",
        ("component/test_rpc_watch.py", "true_age"),
    ),
    "decode-error-kept-for-watches": Bug(
        "I7", "a value whose schema has come is told with the old error to who resumes",
        "rpc/outlet.py", "or not filled.events[0].upsert.decode_error:", "or True:",
        ("component/test_rpc_watch.py", "schema_has_come"),
    ),
    "snapshot-of-two-moments": Bug(
        "I16", "changes come before the snapshot of their keys",
        "core/queue.py", "if self.lagged or ahead or", "if self.lagged or",
        ("unit/test_core_watch.py", "walk_meets_each_dict"),
    ),
    "filter-leaks": Bug(
        "I17", "a watch of a range is told of every key",
        "core/watch.py", "if follower.wanted.keys.holds(key):", "if True:",
        ("unit/test_core_watch.py", "of_no_other"),
    ),
    "slow-watch-kept": Bug(
        "I18", "what waits for a watch has no bound",
        "core/queue.py", "if queue.weight + self._round.weight > self.wanted.limit:",
        "if False:",
        ("unit/test_core_watch.py", "falls_behind"),
    ),
    "slow-reader-kept": Bug(
        "I18", "what waits in the log for a watch of all keys has no bound",
        "core/queue.py", "if self.weight > self.wanted.limit or self._round.lost or place.lost:",
        "if self._round.lost or place.lost:",
        ("unit/test_core_watch.py", "falls_behind"),
    ),
    "let-go-unread": Bug(
        "I13", "who reads the log is not told that it has let go of what was not read",
        "core/queue.py", "if self.weight > self.wanted.limit or self._round.lost or place.lost:",
        "if self.weight > self.wanted.limit or self._round.lost:",
        ("unit/test_core_watch.py", "before_it_was_read"),
    ),
    "let-go-unseen": Bug(
        "I13", "what is being given counts for nothing when the log lets go",
        "core/queue.py", "min(limit, self._log.limit) - given)",
        "min(limit - given, self._log.limit))",
        ("unit/test_core_watch.py", "while_it_was_given"),
    ),
    "packed-without-cause": Bug(
        "I13", "an event that was packed no longer tells at which position it happened",
        "core/packed.py", "return *row, told, cause, why.value, event.crosses",
        "return *row, told, None, why.value, event.crosses",
        ("unit/test_core_watch.py", "is_what_it_was"),
    ),
    "ended-watch-kept": Bug(
        "I18", "a watch that has ended is kept, for it and its queue hold each other",
        "core/queue.py", "self.wake = self.caught_up = bool\n", "pass\n",
        ("component/test_rpc_watch_ends.py", "nothing_is_left"),
    ),
    "refusal-keeps-its-call": Bug(
        "I18", "a watch that was cut is kept by the error that told it so",
        "rpc/errors.py", "refused.__traceback__ = None", "pass",
        ("component/test_rpc_watch_ends.py", "nothing_is_left"),
    ),
    "read-with-a-gap": Bug(
        "I13", "a round that is read from the log leaves out its first change",
        "core/queue.py", "_Stretch(self._log, self._number, self.weight)",
        "_Stretch(self._log, self._number + 1, self.weight)",
        ("unit/test_core_watch.py", "at_every_mark"),
    ),
    "left-over-headers": Bug(
        "I17", "a change has the headers of the one before it, too",
        "rpc/outlet.py", "            self._upsert.Clear()\n", "",
        ("component/test_rpc_watch.py", "nothing_of_the_one_before"),
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
    "key-prefix-ignored": Bug(
        "rules", "keys without the table's prefix are taken",
        "formats/rules.py", "return key if key.startswith(load.key_prefix) else None", "return key",
        ("component/test_follower_rules.py", "from_the_bootstrap_on"),
    ),
    "path-ignored": Bug(
        "rules", "a value in which the path finds nothing is taken",
        "formats/rules.py", "if not matches(tree):", "if False:",
        ("unit/test_formats_rules.py", "a_path_decides"),
    ),
    "true-is-one": Bug(
        "rules", "true is taken for 1, as Python has it",
        "formats/rules.py",
        "return bool(found == wanted) and isinstance(found, bool) is isinstance(wanted, bool)",
        "return bool(found == wanted)",
        ("unit/test_formats_rules.py", "a_path_decides"),
    ),
    "projection-forgotten": Bug(
        "rules", "the whole value is kept, whatever the projection",
        "formats/rules.py", "return value if projected is None else json_of(projected(tree))",
        "return value",
        ("component/test_follower_rules.py", "from_the_bootstrap_on"),
    ),
    "undecodable-turned-away": Bug(
        "rules", "what cannot be decoded is lost to a rule that looks inside",
        "formats/rules.py", "if decoded.json is None:\n        return value",
        "if decoded.json is None:\n        return None",
        ("unit/test_formats_rules.py", "cannot_be_decoded_is_kept"),
    ),
    "turned-away-passed-over": Bug(
        "rules", "a value that is turned away leaves what its key had",
        "core/rule.py",
        "yield Ruled(record.offset, record.timestamp, key, None, turned_away=True)",
        "yield Ruled(record.offset, record.timestamp, None, None)",
        ("component/test_follower_rules.py", "from_the_bootstrap_on"),
    ),
    "turned-away-for-a-tombstone": Bug(
        "rules", "a value that is turned away is told as a tombstone of the topic's",
        "core/stored.py", "return is_tombstone(stored) and bool(tail & _TURNED_AWAY)",
        "return False",
        ("component/test_rpc_watch.py", "told_with_its_cause"),
    ),
    "confirmed-without-the-rule": Bug(
        "rules", "a log that is read once more is read as it is, not through the rule",
        "follower/confirming.py", "self._rule = generation.plan.rule", "self._rule = None",
        ("component/test_follower_rules.py", "read_once_more"),
    ),
    "schema-id-kept": Bug(
        "rules", "keys keep the bytes of their schema's id",
        "formats/keys.py", "return key[_PREFIX_BYTES:]", "return key",
        ("unit/test_formats_rules.py", "without_its_schema_id"),
    ),
    "old-is-taken": Bug(
        "expiry", "what was too old when it was read comes in",
        "core/rule.py", "old = 0 <= record.timestamp < oldest", "old = False",
        ("component/test_follower_rules.py", "grows_too_old"),
    ),
    "read-before-is-ageless": Bug(
        "expiry", "what the bootstrap brought never grows too old",
        "follower/aging.py", "for _ in expiry.walk(_SLICE):", "for _ in ():",
        ("component/test_follower_rules.py", "grows_too_old"),
    ),
    "written-anew-expires": Bug(
        "expiry", "an entry goes by the age of the record before its own",
        "core/expiry.py", "if not 0 <= timestamp < oldest_ms:", "if entry is None:",
        ("unit/test_core_expiry.py", "written_anew"),
    ),
    "expired-comes-back": Bug(
        "expiry", "what another partition said of an expired key is believed again",
        "core/table.py", "self._partitions.forget(key)\n", "pass\n",
        ("unit/test_core_expiry.py", "nothing_older_comes_back"),
    ),
    "index-keeps-what-was-updated": Bug(
        "indexes", "an entry is found by the text that it had before",
        "core/index.py", "for word in before - after:",
        "for word in () if new is not None else before:",
        ("component/test_rpc_indexes.py", "follows_its_table"),
    ),
    "index-keeps-what-is-gone": Bug(
        "indexes", "an entry that is gone leaves its words",
        "core/index.py", "for word in before - after:",
        "for word in before - after if new is not None else ():",
        ("unit/test_core_index.py", "in_step"),
    ),
    "index-drops-another": Bug(
        "indexes", "while an index is made, a change takes out a word that is not its own",
        "core/index.py", "known = built or shard < last or key in self._seen", "known = True",
        ("unit/test_core_index.py", "in_step"),
    ),
    "hidden-is-not-indexed": Bug(
        "indexes", "what is hidden while an index is made takes another's words with it",
        "core/index.py", "for word in self._words(key, stored):",
        "for word in self._words(key, stored if self._table.get(key) else None):",
        ("unit/test_core_index.py", "hidden_only"),
    ),
    "built-index-unbuilds": Bug(
        "indexes", "behind a change in the last dict an index takes itself for half built",
        "core/index.py", "if shard == last and not built:", "if shard == last:",
        ("unit/test_core_index.py", "once_built"),
    ),
    "equal-is-prefix": Bug(
        "indexes", "what only begins with a text is found as equal to it",
        "core/index.py", '(b"" if prefix else _END)', 'b""',
        ("unit/test_core_index.py", "what_is_equal"),
    ),
    "texts-run-into-keys": Bug(
        "indexes", "a zero byte in a text passes for its end",
        "core/index.py", ".replace(_ZERO, _ESCAPED)", "",
        ("unit/test_core_index.py", "zero_bytes"),
    ),
    "found-by-dict": Bug(
        "indexes", "entries come in order within a dict of the table only",
        "core/ordered.py", "return list(islice(merge(*parts), limit))",
        "return list(islice((word for part in parts for word in part), limit))",
        ("unit/test_core_index.py", "in_order_of"),
    ),
    "met-by-each-text": Bug(
        "indexes", "an entry with several texts is met as often",
        "core/index.py", "return any(start <= each < word", "return False and any(each < word",
        ("component/test_rpc_indexes.py", "several_texts_is_met_once"),
    ),
    "swap-goes-back": Bug(
        "succession", "the next generation answers before it has come as far",
        "core/served.py", "return built.view.caught_up and not built.view.has_reached(before.view)",
        "return False",
        ("unit/test_core_served.py", "read_as_far"),
    ),
    "not-fed-meanwhile": Bug(
        "succession", "the one that answers is fed no longer while the next is built",
        "follower/succession.py", "if self.at_once or not self._served.ready:", "if True:",
        ("component/test_follower_redefined.py", "followed_live"),
    ),
    "invalid-file-taken": Bug(
        "succession", "what is wrong in a configuration's file is no reason to refuse it",
        "app.py", "except (ConfigError, NotTaken) as error:", "except NotTaken as error:",
        ("blackbox/test_reload.py", "with_a_mistake"),
    ),
    "decoded-by-place-only": Bug(
        "formats", "a decoded value is kept without the offset: an error never heals",
        "formats/decoded.py", "partition_of(entry[ORIGIN]), entry[OFFSET])",
        "partition_of(entry[ORIGIN]), 0)",
        ("component/test_rpc_lookups.py", "cannot_be_decoded"),
    ),
    "decoded-of-any-generation": Bug(
        "formats", "a decoded value is kept without its generation",
        "formats/decoded.py", "slot = (self._table, generation,", "slot = (self._table, 0,",
        ("unit/test_formats.py", "another_generation"),
    ),
    "no-schema-for-good": Bug(
        "formats", "that a schema is not here yet is kept as the value's error",
        "formats/decoded.py", "if decoded.pending:", "if False:",
        ("unit/test_formats_framed.py", "neither_kept_nor_counted"),
    ),
    "schema-not-asked-for": Bug(
        "formats", "a schema's id that is met in the log wakes nobody",
        "formats/framed.py", "            self.wanted()\n", "            pass\n",
        ("unit/test_formats_framed.py", "noted_once_and_brought"),
    ),
    "deleted-row-shown": Bug(
        "formats", "the event of a row's deletion is answered as the row before it",
        "formats/debezium.py", 'json_of(tree.get("after"))',
        'json_of(tree.get("after") or tree.get("before"))',
        ("unit/test_formats_framed.py", "the_row_after_it"),
    ),
    "scan-repeats": Bug(
        "ordered reads", "the last record of a chunk is the first of the next",
        "rpc/ranges.py", 'return self.last + b"\\0" if self.more', "return self.last if self.more",
        ("component/test_rpc_ranges.py", "exactly_once"),
    ),
    "scan-loses": Bug(
        "ordered reads", "the record that did not fit is in no chunk",
        "rpc/ranges.py", 'return self.found[filled - 1][0] + b"\\0"',
        'return self.found[filled][0] + b"\\0"',
        ("component/test_rpc_ranges.py", "near_a_mebibyte"),
    ),
    "overwritten-leaves-the-order": Bug(
        "ordered reads", "a key that is written anew is in no page",
        "core/ordered.py", "elif change.stored is None:", "else:",
        ("unit/test_core_ordered.py", "overwritten"),
    ),
    "scan-over-a-swap": Bug(
        "ordered reads", "a scan goes on in another generation",
        "rpc/ranges.py", "if served.view is not view:", "if False:",
        ("component/test_rpc_ranges.py", "a_scan_meets_another_generation"),
    ),
    "pages-over-a-swap": Bug(
        "ordered reads", "a page's token is good for another generation",
        "rpc/tokens.py", "if made_for != generation:", "if False:",
        ("component/test_rpc_ranges.py", "another_build"),
    ),
    "mirror-keeps-deleted": Bug(
        "mirror", "a deletion is not applied",
        "kafka_cache_client/_replica.py", "return self._put(event.deletion.key, None)", "return ()",
        ("component/test_mirror.py", "at_every_mark"),
    ),
    "mirror-lays-over": Bug(
        "mirror", "after a reset the snapshot is laid over what was there",
        "kafka_cache_client/_replica.py", "self._building = {}",
        "self._building = dict(self._last)",
        ("component/test_mirror.py", "half_of_a_snapshot"),
    ),
    "mirror-answers-half": Bug(
        "mirror", "half of a snapshot answers",
        "kafka_cache_client/_replica.py", "self._building = {}",
        "self._building = self.records = {}",
        ("component/test_mirror.py", "half_of_a_snapshot"),
    ),
    "mirror-fresh-as-of-arrival": Bug(
        "mirror", "it is fresh as of when a mark came, not of when the sidecar was asked",
        "kafka_cache_client/_replica.py", "self.marks += 1\n        self._refresh()",
        "self.marks += 1\n        self._fresh_as_of = self._clock()",
        ("component/test_mirror.py", "as_old_as"),
    ),
}  # fmt: skip


def tried(bug: Bug, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests that are to catch a bug against a copy that has it."""
    package = kafka_cache_client if bug.module.startswith(CLIENT) else sidecar
    source = Path(package.__file__).parent
    copied = folder / source.name
    shutil.copytree(source, copied, ignore=shutil.ignore_patterns("__pycache__"))
    module = copied / bug.module.removeprefix(CLIENT)
    text = module.read_text(encoding="utf-8")
    assert text.count(bug.sound) == 1, "the source has moved on: plant the bug where it is now"
    module.write_text(text.replace(bug.sound, bug.broken), encoding="utf-8")
    file, word = bug.tests
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-k", word, "-p", "no:cacheprovider",
         "--hypothesis-profile", "first-found",
         str(TESTS / file)],
        cwd=TESTS.parent,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tries(request, tmp_path_factory):
    """All that were asked for, two at a time."""
    asked = [item.callspec.params for item in request.session.items if "tries" in item.fixturenames]
    pool = ThreadPoolExecutor(2)
    yield {
        name: pool.submit(tried, BUGS[name], tmp_path_factory.mktemp(name))
        for name in (params["name"] for params in asked)
    }
    pool.shutdown(cancel_futures=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_it_is_caught(name, tries):
    done = tries[name].result()
    assert done.returncode == FAILED, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_readme_of_the_tests_names_each():
    told = (TESTS / "README.md").read_text(encoding="utf-8")
    assert not [name for name in BUGS if f"`{name}`" not in told]
