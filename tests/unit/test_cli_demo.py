"""The demo's data: real airports, harmless changes, KJFK always there."""

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from sidecar.demo.airports import Airports, load

FACTS = {
    code: {"icao": code, "iata": iata, "name": f"{code} field"}
    for code, iata in (("KJFK", "JFK"), ("KXX1", ""), ("KXX2", ""), ("EDDM", "MUC"))
}


def test_the_airports_are_those_of_the_package():
    facts = load()
    assert len(facts) > 20_000
    assert facts["KJFK"]["city"] == "New York"
    assert sum(code.startswith("KJ") for code in facts) > 10


@given(st.integers(), st.integers(0, 2000))
def test_changes_leave_the_facts_alone_and_revisions_only_rise(seed, number):
    airports = Airports(FACTS, Random(seed))
    table = dict(airports.everything())
    assert table.keys() == {code.encode() for code in FACTS}
    revisions = dict.fromkeys(table, 1)
    for _ in range(number):
        key, value = airports.change()
        if value is None:
            assert FACTS[key.decode()]["iata"] == ""
            assert table.pop(key) is not None
            continue
        shown = json.loads(value)
        assert shown["revision"] > revisions[key]
        revisions[key] = shown.pop("revision")
        assert shown == FACTS[key.decode()]
        table[key] = value
    assert b"KJFK" in table


def test_every_deleted_airport_comes_back():
    airports = Airports(FACTS, Random(1))
    closed, opened = set(), set()
    for _ in range(2000):
        key, value = airports.change()
        if value is None:
            closed.add(key)
        elif key in closed:
            opened.add(key)
    assert closed == opened == {b"KXX1", b"KXX2"}
