"""The fake cluster treats leader epochs as a real broker does.

The logs have two records of leader epoch 0 and one of the present one, and no epoch
between them has any. That of `SHORTENED` begins at offset 1.
"""

import pytest
from support.clusters import FakeActs, KafkaActs, asking, at, pairs, read, spans
from support.fake_broker import FakeCluster
from support.kafka import KafkaCluster

OFFSET_OUT_OF_RANGE, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH = 1, 74, 75
BOTH = ["fake", pytest.param("kafka", marks=pytest.mark.kafka)]
RAISED, SHORTENED = "raised", "shortened"


@pytest.fixture(scope="module")
def restarted():
    """A broker of its own: the shared one is not to be restarted."""
    with KafkaCluster() as kafka:
        yield _raised(KafkaActs(kafka))


def _raised(acts):
    for topic in (RAISED, SHORTENED):
        acts.create(topic, cleanup_policy="delete")
        acts.write(topic, pairs(b"0", b"1"))
    acts.restart()
    for topic in (RAISED, SHORTENED):
        acts.write(topic, pairs(b"2"))
    acts.delete_before(SHORTENED, 1)
    return acts


@pytest.fixture(params=BOTH)
async def raised(request):
    """(what asks, the leader epoch that there is now)."""
    async with FakeCluster() as fake:
        real = request.param == "kafka"
        acts = request.getfixturevalue("restarted") if real else _raised(FakeActs(fake))
        async with asking(acts.address) as asked:
            epoch = (await asked.metadata(RAISED)).leaders[0].epoch
            assert epoch > 1  # so there is one between the two
            yield asked, epoch


async def test_batches_bear_the_leader_epoch_they_were_written_under(raised):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(0, epoch=epoch))
    assert [(each.base_offset, each.leader_epoch) for each in spans(answer)] == [
        (0, 0),
        (2, epoch),
    ]


@pytest.mark.parametrize(("more", "error"), [(1, UNKNOWN_LEADER_EPOCH), (-1, FENCED_LEADER_EPOCH)])
async def test_another_leader_epoch_is_refused(raised, more, error):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(0, epoch=epoch + more))
    assert (answer.error_code, answer.bounds, len(answer.records)) == (error, (-1, -1, -1), 0)
    assert await asked.ends(RAISED, epoch + more) == ((error, -1),) * 3


async def test_no_leader_epoch_is_not_checked(raised):
    asked, _ = raised
    assert (await asked.fetch(RAISED, at(0, epoch=-1))).error_code == 0
    assert await asked.ends(RAISED, -1) == ((0, 0), (0, 3), (0, 3))


# What was fetched last


async def test_a_log_that_goes_on_from_the_last_epoch_is_given(raised):
    asked, epoch = raised
    for offset, last_epoch in [(2, 0), (1, 0), (3, epoch), (2, epoch)]:
        answer = await asked.fetch(RAISED, at(offset, epoch=epoch, last_epoch=last_epoch))
        assert (answer.error_code, answer.diverging, answer.bounds) == (0, None, (0, 3, 3))
        assert [offset for offset, _ in read(answer)][-1:] == [2] * (offset < 3)


async def test_a_log_that_left_the_last_epoch_earlier_tells_where(raised):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(3, epoch=epoch, last_epoch=0), max_wait_ms=9_000)
    assert (answer.error_code, answer.diverging, answer.bounds) == (0, (0, 2), (0, 3, 3))
    assert len(answer.records) == 0


async def test_beyond_the_end_of_the_last_epoch_the_log_diverges_too(raised):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(9, epoch=epoch, last_epoch=epoch), max_wait_ms=9_000)
    assert (answer.error_code, answer.diverging) == (0, (epoch, 3))


async def test_a_last_epoch_without_records_diverges_at_the_one_before(raised):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(2, epoch=epoch, last_epoch=1), max_wait_ms=9_000)
    assert (answer.error_code, answer.diverging) == (0, (0, 2))


async def test_a_last_epoch_from_the_future_is_out_of_range(raised):
    asked, epoch = raised
    answer = await asked.fetch(RAISED, at(2, epoch=epoch, last_epoch=epoch + 1))
    assert (answer.error_code, answer.bounds) == (OFFSET_OUT_OF_RANGE, (-1, -1, -1))


async def test_below_the_log_start_no_divergence_is_told(raised):
    asked, _ = raised
    answer = await asked.fetch(SHORTENED, at(0, epoch=-1, last_epoch=1))
    assert (answer.error_code, answer.diverging) == (OFFSET_OUT_OF_RANGE, None)
    answer = await asked.fetch(SHORTENED, at(2, epoch=-1, last_epoch=1), max_wait_ms=9_000)
    assert (answer.error_code, answer.diverging, answer.bounds) == (0, (0, 2), (1, 3, 3))
