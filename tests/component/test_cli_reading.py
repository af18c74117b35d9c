"""Reading a topic once while it moves: a scripted broker that writes and deletes meanwhile."""

import asyncio

import pytest
from support.batches import batch
from support.fake_broker import FakeCluster, always, edit

from sidecar.app import read_log
from sidecar.cli.explaining import KeyFold
from sidecar.cli.failure import Failed
from sidecar.cli.reading import LogMoved, Subject, read
from sidecar.cli.verification import LogFold
from sidecar.ops.config import load


@pytest.fixture
async def cluster():
    async with FakeCluster() as known:
        known.add_topic("t")
        for number in range(4):
            known.topics["t"][0].write([(b"k", b"%d" % number)])
        yield known


async def reading(cluster, fold):
    flags = {
        "kafka": {"bootstrap.servers": cluster.bootstrap_servers},
        "tables": {"t": {"topic": "t"}},
    }
    subject = Subject("t", "t", load(None, {}, flags), headers=False)
    return await asyncio.to_thread(read, read_log, subject, fold, {})


async def test_records_that_are_written_meanwhile_do_not_keep_it_from_ending(cluster):
    partition = cluster.topics["t"][0]

    def write(request, answer):
        partition.write([(b"k", b"more")])

    cluster.script.fetch.append(always(write))
    fold = LogFold({0: 3})
    span = await reading(cluster, fold)
    assert (span.starts, span.ends) == ({0: 0}, {0: 4})
    assert fold.kept[0][b"k"].value == b"2"
    assert b"k" in fold.superseded[0]


async def test_a_log_start_that_passes_it_is_begun_with_anew(cluster):
    partition = cluster.topics["t"][0]

    def delete_records(request, answer):
        partition.delete_before(2)
        for part in answer["topics"][0]["partitions"]:
            part.update(error_code=1, records=b"")

    cluster.script.fetch.append(delete_records)
    with pytest.raises(LogMoved, match="its start has passed us"):
        await reading(cluster, LogFold({0: 4}))
    fold = LogFold({0: 4})
    assert (await reading(cluster, fold)).starts == {0: 2}
    assert (fold.starts, fold.kept[0][b"k"].value) == ({0: 2}, b"3")


@pytest.mark.parametrize("told_by", ["CRC", "broker"])
async def test_a_batch_that_cannot_be_read_is_no_reason_to_begin_anew(cluster, told_by):
    partition = cluster.topics["t"][0]
    if told_by == "CRC":
        partition.batches.append(batch([(b"k", b"4")], base_offset=4, wrong_crc=True))
        partition.next_offset = 5
    else:
        cluster.script.fetch.append(edit("t", 0, error_code=2, records=b""))
    with pytest.raises(
        Failed, match=r"cannot read the topic: .*partition 0: the .*batch"
    ) as failed:
        await reading(cluster, LogFold({0: 3}))
    assert not isinstance(failed.value, LogMoved)


async def test_what_an_open_transaction_hides_is_noted(cluster):
    partition = cluster.topics["t"][0]
    partition.write([(b"k", b"hidden")], transactional=True, producer_id=7)
    fold = KeyFold(b"k")
    await reading(cluster, fold)
    assert fold.held_back == {0: (4, 5)}
    assert fold.last(0).value == b"3"
