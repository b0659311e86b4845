"""The row in which those stand who act on a device."""

import asyncio

from firmware_bridge.row import Row


async def _stands(row: Row, name: str, seen: list[str], leave: asyncio.Event) -> None:
    with row.place() as place:
        await place.turn()
        seen.append(name)
        await leave.wait()


def _three_stand(
    row: Row, doors: list[asyncio.Event]
) -> tuple[list[str], list[asyncio.Task[None]]]:
    """a, b and c take their places; who has had a turn, and their tasks."""
    seen: list[str] = []
    named = zip("abc", doors, strict=True)
    return seen, [asyncio.ensure_future(_stands(row, name, seen, door)) for name, door in named]


async def test_each_has_its_turn_once_all_before_it_have_left() -> None:
    row, doors = Row(), [asyncio.Event() for _ in "abc"]
    seen, tasks = _three_stand(row, doors)
    for number, door in enumerate(doors):
        await asyncio.sleep(1)
        assert seen == list("abc"[: number + 1])
        door.set()
    await asyncio.gather(*tasks)
    assert row.is_empty


async def test_a_place_is_taken_before_anything_is_awaited() -> None:
    row = Row()
    with row.place(), row.place() as second:
        waiting = asyncio.ensure_future(second.turn())
        await asyncio.sleep(1)
        assert not waiting.done()
    await waiting


async def test_who_is_cancelled_while_waiting_lets_nobody_overtake() -> None:
    row, doors = Row(), [asyncio.Event() for _ in "abc"]
    seen, tasks = _three_stand(row, doors)
    await asyncio.sleep(1)
    tasks[1].cancel()
    await asyncio.sleep(1)
    assert seen == ["a"]
    doors[0].set()
    await asyncio.sleep(1)
    assert seen == ["a", "c"]
    doors[2].set()
    await tasks[2]
    assert row.is_empty
