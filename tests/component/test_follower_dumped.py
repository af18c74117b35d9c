"""Tables that are fed from dumps: the same as above the topic, and no broker is asked."""

import asyncio
import base64
import json
import socket
from contextlib import asynccontextmanager

import pytest
from support.registry import FakeRegistry

from sidecar.core.bounds import Bounds
from sidecar.core.model import OFFSET, ORIGIN, TIMESTAMP, VALUE, partition_of, timestamp_type_of
from sidecar.core.served import TableState
from sidecar.follower import dumped
from sidecar.follower.dump import DumpFault, open_dump
from sidecar.follower.following import Following, boottime
from sidecar.ops.config import load
from sidecar.ops.configfile import NotTaken
from sidecar.ops.memory import Budget
from sidecar.ops.recorder import Recorder

PLENTY_S = 20
FIRST = {"dump": 1, "table": "users", "topic": "t", "incarnation": 9, "positions": {"0": 8, "3": 5}}
A = {"key": "a", "value": '{"city":"Delft"}', "partition": 3, "offset": 4, "timestamp_ms": 5}
B = {"key": "b", "value": "{}", "partition": 0, "offset": 6, "timestamp_ms": 5} | {
    "timestamp_type": "LOG_APPEND_TIME", "headers": [["h", None]]
}  # fmt: skip
C = {"key": "c", "value": "{}", "partition": 0, "offset": 2, "timestamp_ms": 7}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(dumped, "_ROUND_S", 0.02)


@pytest.fixture
def written(tmp_path):
    def write(*records, **first):
        path = tmp_path / "users.jsonl"
        lines = (FIRST | first, *records, {"end": True, "entries": len(records)})
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return str(path)

    return write


def following_of(path, budget=None, **flags):
    dump = open_dump(path)
    said = {"users": {"topic": dump.topic, "format": dump.format, "headers": True}}
    config = load(None, {}, flags, said)
    return Following(config, budget or Budget(), Recorder(), {"users": dump})


@asynccontextmanager
async def fed(path, **flags):
    """The table, while it is fed."""
    following = following_of(path, **flags)
    task = asyncio.create_task(following.run())
    try:
        async with asyncio.timeout(PLENTY_S):
            yield following.tables["users"]
    finally:
        task.cancel()
        await asyncio.wait({task})
        following.close()
    if not task.cancelled():
        task.result()


async def until(claim):
    while not claim():
        await asyncio.sleep(0.002)


async def test_the_table_is_exactly_what_was_dumped(written):
    async with fed(written(A, B, C)) as users:
        await until(lambda: users.ready)
        table = users.read(boottime()).table
        held = {key: table.get(key) for key in table}
        assert [held[key][VALUE] for key in sorted(held)] == [b'{"city":"Delft"}', b"{}", b"{}"]
        origins = [held[key][ORIGIN] for key in (b"a", b"b", b"c")]
        assert list(map(partition_of, origins)) == [3, 0, 0]
        assert list(map(timestamp_type_of, origins)) == [0, 1, 0]
        assert [held[key][OFFSET] for key in (b"a", b"b", b"c")] == [4, 6, 2]
        assert (held[b"c"][TIMESTAMP], held[b"b"][4]) == (7, (("h", None),))
        positions = {number: known.position for number, known in users.view.progress.items()}
        assert (positions, users.view.identity[0]) == ({0: 8, 3: 5}, 9)


async def test_it_is_live_and_stays_fresh(written):
    async with fed(written(A, B, C)) as users:
        await until(lambda: users.ready)
        assert users.state(boottime()) is TableState.LIVE
        since = boottime()
        await until(lambda: users.view.staleness_ms(since) == 0)  # it was told anew since then
        assert users.read(boottime(), Bounds(positions={0: 8, 3: 5}, incarnation=9)).complete
        assert users.reason(boottime()) == ""


async def test_whoever_waits_for_a_fresher_answer_is_woken(written):
    async with fed(written(A)) as users:
        await until(lambda: users.ready)
        woken = asyncio.Event()
        users.arrivals.when(woken.set, None)
        await woken.wait()


async def test_an_empty_table_is_ready_too(written):
    async with fed(written(positions={"0": 0, "1": 6})) as users:
        await until(lambda: users.ready)
        assert (len(users.view.table), users.state(boottime())) == (0, TableState.LIVE)


async def test_while_it_is_read_nothing_is_answered_and_others_run(written):
    many = [C | {"key": f"{at:05}", "offset": at} for at in range(5000)]
    async with fed(written(*many, positions={"0": 5000})) as users:
        told = set()
        while not users.ready:
            assert users.state(boottime()) is TableState.BOOTSTRAPPING
            told.add(users.reason(boottime()))
            await asyncio.sleep(0)
        read = [each for each in told if f"of the dump {users.definition.dump} is read" in each]
        folded = [each for each in told if "of 5000 offsets" in each]
        assert len(read) > 10
        assert len(folded) > 3


async def test_no_connection_is_opened(written):
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.setblocking(False)
        servers = f"127.0.0.1:{broker.getsockname()[1]}"
        async with fed(written(A), kafka={"bootstrap.servers": servers}) as users:
            await until(lambda: users.ready)
            with pytest.raises(BlockingIOError):
                broker.accept()


async def test_what_has_passed_the_tables_rule_does_not_pass_it_again(written):
    rule = {"strip_schema_id": True, "expire_after_ms": 1, "filter_path": "$.name"}
    key = {"key": "\0\0\0\0\1a"}
    async with fed(written(A | key), tables={"users": rule | {"format": "json"}}) as users:
        await until(lambda: users.ready)
        table = users.read(boottime()).table
        assert list(table) == [b"\0\0\0\0\1a"]
        assert users.definition.load.expire_after_ms == 1


async def test_it_has_the_indexes_of_the_configuration(written):
    indexed = {"format": "json", "indexes": {"city": "$.city"}}
    async with fed(written(A, B, C), tables={"users": indexed}) as users:
        await until(lambda: users.ready and users.current.plan.indexes["city"].built)
        words = users.current.plan.indexes["city"].page(b"", b"", 9)
        assert len(words) == 1
        assert words[0].startswith(b"Delft")


async def test_a_schema_registry_is_asked_for_what_its_values_name(written):
    with FakeRegistry() as registry:
        schema = {"type": "record", "name": "N", "fields": [{"name": "n", "type": "string"}]}
        value = b"\0" + registry.add("t-value", json.dumps(schema)).to_bytes(4, "big") + b"\x02a"
        record = A | {"value": {"base64": base64.b64encode(value).decode()}}
        flags = {
            "tables": {"users": {"format": "avro"}},
            "schema_registry": {"url": registry.url},
        }
        async with fed(written(record), **flags) as users:
            await until(lambda: users.ready)
            assert users.current.plan.decode(value).json == b'{"n":"a"}'


async def test_fewer_entries_than_are_asked_for_do_not_answer(written):
    async with fed(written(A, B), tables={"users": {"min_entries": 3}}) as users:
        await until(lambda: "holds 2 entries, fewer than min_entries" in users.reason(boottime()))
        assert not users.ready


async def test_as_many_entries_as_are_asked_for_do(written):
    async with fed(written(A, B), tables={"users": {"min_entries": 2}}) as users:
        await until(lambda: users.ready)


@pytest.mark.parametrize(
    ("records", "limit", "why"),
    [((A, A), None, "line 3: expected a key of its own"), ((A, B), 1 << 20, "give it more")],
)
async def test_what_cannot_be_served_ends_it(written, records, limit, why):
    many = [C | {"key": f"{at:05}", "offset": 5 + at} for at in range(600)]
    path = written(*records, *many, positions={"0": 1000, "3": 5})
    following = following_of(path, Budget(limit))
    async with asyncio.timeout(PLENTY_S):
        with pytest.raises(ExceptionGroup) as caught:
            await following.run()
    assert caught.group_contains(DumpFault, match=why)
    assert following.tables["users"].view is None  # it was told while the file was read
    following.close()


async def test_another_definition_takes_a_restart(written):
    following = following_of(written(A))
    following.take(following.config)
    config = load(None, {}, {"tables": {"users": {"format": "json"}}}, {"users": {"topic": "t"}})
    with pytest.raises(NotTaken, match=r"tables.users: changed, which takes a restart"):
        following.take(config)
    assert following.config != config
    following.close()
