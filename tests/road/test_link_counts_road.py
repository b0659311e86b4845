"""What is dropped on a line is told apart: each stray frame by its name, sealed and not."""

import asyncio

import pytest
from road_bench import Road, apply, road
from road_bench import both_lines as both_lines

from firmware_bridge.families.table import CATALOGUE, AnyController
from firmware_bridge.link_counts import RECENT_KEPT
from firmware_bridge.protocol.catalogue import (
    Envelope,
)
from firmware_bridge.protocol.frames import encode_frame
from firmware_bridge.protocol.messages import (
    AskEvent,
    AskStatus,
    LoggedEvent,
    Read,
    Stop,
    Stopped,
)
from firmware_bridge.protocol.seal import DeviceKey, SealedLine

EVENT = LoggedEvent(1, 1, 1, "a test")
pytestmark = [pytest.mark.requirement("SR-24"), pytest.mark.fault("F34")]


async def asked(bench: Road, controller: AnyController) -> tuple[int, int]:
    """Session and sequence of a question that has just been answered."""
    await controller.session.query(AskEvent(0), LoggedEvent)
    session, sequence, _ = bench.link.sent[-1]
    return session, sequence


def unsealed(bench: Road, session: int, sequence: int) -> None:
    """A reply that whoever is on the line says, without a seal."""
    assert bench.link.receiver is not None
    body = CATALOGUE.encode(Envelope(session, sequence, EVENT))
    bench.link.receiver.received(encode_frame(body))


async def test_a_calm_conversation_drops_nothing() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        counts = controller.session.counts
        assert counts.dropped == {}
        assert counts.sent == counts.received


@pytest.mark.fault("F32")
async def test_late_is_the_reply_to_a_request_that_was_given_up() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        before = bench.link.count(AskEvent)
        bench.link.swallow = lambda _: bench.link.count(AskEvent) == before + 1
        await asked(bench, controller)
        first = next(one for one in bench.link.sent if isinstance(one.message, AskEvent))
        bench.link.says(first.session, first.sequence, EVENT)
        assert controller.session.counts.dropped == {"late": 1}
        bench.link.says(first.session, first.sequence, EVENT)
        assert controller.session.counts.dropped == {"late": 1, "duplicate": 1}


@pytest.mark.fault("F33")
async def test_late_is_also_the_reply_to_a_question_whose_asker_was_cancelled() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        bench.link.swallow = lambda request: isinstance(request, AskEvent)
        asking = asyncio.ensure_future(controller.session.query(AskEvent(0), LoggedEvent))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait({asking})
        session, sequence, _ = bench.link.sent[-1]
        bench.link.says(session, sequence, EVENT)
        assert controller.session.counts.dropped == {"late": 1}


@pytest.mark.fault("F33")
async def test_duplicate_is_one_more_reply_to_what_was_answered() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        bench.link.says(session, sequence, EVENT)
        assert controller.session.counts.dropped == {"duplicate": 1}


@pytest.mark.parametrize("what", ["another session", "never asked", "no reply"])
async def test_alien_is_what_is_of_no_conversation_of_ours(what: str) -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        if what == "another session" and bench.key is not None:
            foreign = SealedLine(session ^ 1, "device", bytes(32), bytes(32))
            body = foreign.seal(CATALOGUE.encode(Envelope(session ^ 1, sequence, EVENT)))
            assert bench.link.receiver is not None
            bench.link.receiver.received(encode_frame(body))
        elif what == "another session":
            bench.link.says(session ^ 1, sequence, EVENT)
        elif what == "never asked":
            bench.link.says(session, sequence + 9, EVENT)
        else:
            bench.link.says(session, sequence, Read(0))
        assert controller.session.counts.dropped == {"alien": 1}


async def test_alien_is_a_reply_to_what_was_asked_too_long_ago_to_be_known() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        for _ in range(RECENT_KEPT - 1):
            await asked(bench, controller)
        bench.link.says(session, sequence, EVENT)
        assert controller.session.counts.dropped == {"duplicate": 1}
        await asked(bench, controller)
        bench.link.says(session, sequence, EVENT)
        assert controller.session.counts.dropped == {"duplicate": 1, "alien": 1}
        assert len(controller.session._over) == RECENT_KEPT


async def test_corrupt_is_what_was_damaged_on_the_way() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        bench.runner.inject("corrupt_reply")
        await asked(bench, controller)
        assert controller.session.counts.dropped == {"corrupt": 1}


async def test_forged_is_an_unsealed_reply_where_a_sealed_one_is_due_and_no_other() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        unsealed(bench, session, sequence)
        kind = "duplicate" if bench.key is None else "forged"
        assert controller.session.counts.dropped == {kind: 1}


async def test_forged_is_what_another_key_has_sealed() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        thief = DeviceKey(bytes(range(1, 33))).secret
        line = SealedLine(session, "device", thief, thief)
        body = line.seal(CATALOGUE.encode(Envelope(session, sequence, EVENT)), 9_999)
        assert bench.link.receiver is not None
        bench.link.receiver.received(encode_frame(body))
        assert controller.session.counts.dropped == {"forged": 1}


@pytest.mark.fault("F37")
async def test_replayed_is_the_very_same_sealed_frame_once_more() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        bench.runner.inject("duplicate_reply")
        await asked(bench, controller)
        await asyncio.sleep(0)
        assert controller.session.counts.dropped == {"replayed": 1}


async def test_an_unsealed_stop_of_a_sealed_conversation_has_duplicates_too() -> None:
    async with road("pump", sealed=True) as bench:
        controller = await bench.pump()
        bench.link.swallow = lambda request: bench.link.count(Stop) == 1
        await controller.session.lower(Stop("hold"))
        session, sequence, stop = bench.link.sent[-1]
        assert (session, stop) == (0, Stop("hold"))
        bench.link.says(session, sequence, Stopped("ITP-0001"))
        assert controller.session.counts.dropped == {"duplicate": 1}


async def test_nothing_that_is_dropped_counts_as_received() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        session, sequence = await asked(bench, controller)
        before = controller.session.counts.received
        for shift in range(5):
            bench.link.says(session, sequence + shift, EVENT)
        assert controller.session.counts.received == before
        assert bench.link.count(AskStatus) > 0
