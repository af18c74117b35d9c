"""Records are filled so that their size is known beforehand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar._pb import cache_pb2 as pb
from sidecar.core.model import origin_of
from sidecar.formats import FORMATS, DecodedValues, Decoder
from sidecar.rpc.records import FILLS, RECORD_OVERHEAD_BYTES, json_fill

int64 = st.integers(-(2**63), 2**63 - 1)
headers = st.lists(
    st.tuples(
        st.text() | st.just("\udcff"),  # a key that was not UTF-8
        st.none() | st.binary(),
    )
).map(tuple)
entries = st.tuples(
    st.binary(max_size=300),
    st.builds(origin_of, st.integers(0, 2**31 - 1), st.integers(0, 1)),
    int64,
    int64,
    headers,
)


def fills():
    kept = DecodedValues(10_000)
    for name in ("utf8", "json"):
        decoder = Decoder("users", FORMATS[name], kept, lambda table: None)
        yield from (json_fill(view, decoder, 7) for view in FILLS)
    yield from FILLS.values()


@pytest.mark.parametrize("kind", [pb.MultiGetResponse, pb.ListResponse])
@given(st.binary(max_size=300), entries)
def test_what_a_fill_states_and_the_overhead_are_never_less_than_the_size(kind, key, entry):
    for fill in fills():
        response = kind()
        if kind is pb.ListResponse:
            record = response.records.add()
        else:
            result = response.results.add(presence=pb.PRESENCE_FOUND)
            record = result.record
        stated = fill(record, key, entry)
        assert response.ByteSize() <= stated + RECORD_OVERHEAD_BYTES


@given(st.lists(st.binary(max_size=9)))
def test_header_keys_are_the_bytes_that_the_producer_wrote(keys):
    record = pb.Record()
    held = tuple((key.decode("utf-8", "surrogateescape"), None) for key in keys)
    FILLS[pb.VIEW_FULL](record, b"k", (b"v", 0, 0, 0, held))
    assert [header.key for header in record.headers] == keys
