"""Watches send one after the other, and gather before they do."""

import asyncio

from sidecar.rpc.turns import Turns


async def test_there_is_one_turn_in_a_round_of_the_loop():
    turns, rounds, had = Turns(), [0], []

    def count():
        rounds[0] += 1
        if len(had) < 20:
            asyncio.get_running_loop().call_soon(count)

    async def taken():
        await turns.take()
        had.append(rounds[0])

    async with asyncio.TaskGroup() as tasks:
        asyncio.get_running_loop().call_soon(count)
        for _ in range(20):
            tasks.create_task(taken())
    assert len(set(had)) == 20
    assert had == sorted(had)


async def test_what_has_come_is_gathered_and_holds_up_nobody_who_has_more_to_send():
    turns, gathered = Turns(), asyncio.Event()
    turns.watches = 50
    turns.ask(gathered)
    for _ in range(20):
        await turns.take()
    assert not gathered.is_set()
    await gathered.wait()


async def test_those_who_gather_have_their_turns_in_the_order_in_which_they_asked():
    turns, asked = Turns(), [asyncio.Event() for _ in range(5)]
    turns.watches = 10
    for turn in asked:
        turns.ask(turn)
    for number, turn in enumerate(asked):
        await turn.wait()
        assert not any(later.is_set() for later in asked[number + 1 :])


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_over():
    turns = Turns()
    gone = asyncio.create_task(turns.take())
    await asyncio.sleep(0)
    gone.cancel()
    await turns.take()
    assert gone.cancelled()
