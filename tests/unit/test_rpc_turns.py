"""Watches send one after the other, and gather before they do."""

import asyncio

from sidecar.rpc import turns as module
from sidecar.rpc.turns import Turns


async def test_everybody_else_has_rounds_of_the_loop_between_two_turns():
    turns, rounds, had = Turns(), [0], []

    def count():
        rounds[0] += 1
        if len(had) < 10:
            asyncio.get_running_loop().call_soon(count)

    async def taken():
        await turns.take()
        had.append(rounds[0])

    async with asyncio.TaskGroup() as tasks:
        asyncio.get_running_loop().call_soon(count)
        for _ in range(10):
            tasks.create_task(taken())
    assert had[-1] - had[0] > 5 * len(had)


async def test_what_has_come_is_gathered_and_holds_up_nobody_who_has_more_to_send(monkeypatch):
    monkeypatch.setattr(module, "_MOST_S", 1e6)
    turns, gathered = Turns(), asyncio.Event()
    turns.watches = 10**9
    turns.ask(gathered)
    for _ in range(3):
        await turns.take()
    assert not gathered.is_set()


async def test_those_who_gather_have_their_turns_in_the_order_in_which_they_asked():
    turns, asked = Turns(), [asyncio.Event() for _ in range(5)]
    turns.watches = 10
    for turn in asked:
        turns.ask(turn)
    for number, turn in enumerate(asked):
        await turn.wait()
        assert not any(later.is_set() for later in asked[number + 1 :])


async def test_who_has_much_to_send_has_every_second_turn():
    turns, order = Turns(), []

    async def taken(name, **how):
        await turns.take(**how)
        order.append(name)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(taken("other"))
        for _ in range(2):
            tasks.create_task(taken("much", again=True))
    assert sorted(order[:4]) == ["much", "much", "other", "other"]
    assert order[4:] == ["other", "other"]


async def test_who_asks_twice_before_a_turn_has_one():
    turns, turn = Turns(), asyncio.Event()
    turns.ask(turn, at_once=True)
    turns.ask(turn, at_once=True)
    await turn.wait()
    turn.clear()
    for _ in range(3):
        await turns.take()
    assert not turn.is_set()


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_over():
    turns = Turns()
    gone = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    gone.cancel()
    await turns.take()
    assert gone.cancelled()
