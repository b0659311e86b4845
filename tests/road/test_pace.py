"""Whose turn it is on a slow wire: a stop waits for one frame at most (SR-32)."""

import asyncio

import pytest
from road_bench import apply as apply_stimulation
from road_bench import flowing, kept_alive, rise, road

from device_profiles.errors import LinkError
from firmware_bridge.families.scs.wire import Renew
from firmware_bridge.links.base import Link, LiveLink, Receiver
from firmware_bridge.pace import BITS_PER_BYTE, LOOK_AGAIN_S, PATIENT_LOOKS, Pace, Turn
from firmware_bridge.protocol.messages import AskStatus, Reply, Stop

BAUD = 115_200


class PaperLink(LiveLink):
    """A wire that takes what it is given, or keeps it queued."""

    def __init__(self, baud: int | None = BAUD) -> None:
        super().__init__("paper")
        self.baud = baud
        self.held = 0

    @property
    def queued(self) -> int:
        return self.held

    async def open(self, receiver: Receiver) -> None:
        self._begin(receiver)

    async def close(self) -> None:
        self._close()

    def _send(self, data: bytes) -> None:
        """Gone."""

    def _release(self) -> None:
        """Nothing to free."""


class SlowLink(Link):
    """A line whose wire carries so many bits a second; what is written arrives when it has."""

    def __init__(self, inner: Link) -> None:
        self.inner = inner
        self.url = inner.url
        self.baud = BAUD
        self.free_at = 0.0
        self.most_unsent = 0
        self.unsent = 0

    async def open(self, receiver: Receiver) -> None:
        await self.inner.open(receiver)

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.unsent += 1
        self.most_unsent = max(self.most_unsent, self.unsent)
        self.free_at = max(loop.time(), self.free_at) + len(data) * BITS_PER_BYTE / BAUD
        loop.call_at(self.free_at, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        self.unsent -= 1
        self.inner.write(data)

    async def close(self) -> None:
        await self.inner.close()


async def in_turn(pace: Pace, who: Turn, name: str, told: list[tuple[float, str]]) -> None:
    await pace.turn(who)
    told.append((round(asyncio.get_running_loop().time(), 6), name))
    pace.wrote(1_152)  # a tenth of a second


# --- the turns -----------------------------------------------------------------------------------


async def test_a_line_without_a_slow_wire_lets_everybody_write_at_once() -> None:
    pace, told = Pace(PaperLink(None)), list[tuple[float, str]]()
    for name in ("a", "b", "c"):
        await in_turn(pace, Turn.QUERY, name, told)
    assert len({at for at, _ in told}) == 1


async def test_each_frame_waits_until_the_one_before_has_left_the_wire() -> None:
    pace, told = Pace(PaperLink()), list[tuple[float, str]]()
    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(in_turn(pace, Turn.QUERY, name, told) for name in "abc"))
    assert [(round(at - begun, 6), name) for at, name in told] == [(0, "a"), (0.1, "b"), (0.2, "c")]


@pytest.mark.requirement("SR-53")
async def test_a_lease_goes_before_therapy_and_therapy_before_queries() -> None:
    pace, told = Pace(PaperLink()), list[tuple[float, str]]()
    names = [(Turn.QUERY, "first"), (Turn.QUERY, "query"), (Turn.THERAPY, "bolus")]
    await asyncio.gather(*(in_turn(pace, *one, told) for one in [*names, (Turn.LEASE, "lease")]))
    assert [name for _, name in told] == ["first", "lease", "bolus", "query"]


async def test_an_answer_to_the_newest_frame_frees_the_line_before_its_time() -> None:
    pace, told = Pace(PaperLink()), list[tuple[float, str]]()
    await in_turn(pace, Turn.QUERY, "a", told)
    waiting = asyncio.ensure_future(in_turn(pace, Turn.QUERY, "b", told))
    await asyncio.sleep(0.01)
    pace.answered()
    await waiting
    assert told[1][0] - told[0][0] == pytest.approx(0.01)


async def test_who_is_cancelled_hands_the_turn_to_the_next() -> None:
    pace, told = Pace(PaperLink()), list[tuple[float, str]]()
    await in_turn(pace, Turn.QUERY, "a", told)
    waiting = [asyncio.ensure_future(in_turn(pace, Turn.QUERY, n, told)) for n in "bc"]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    await asyncio.wait(waiting)
    assert [name for _, name in told] == ["a", "c"]


async def test_what_the_system_has_not_taken_holds_everybody_up_until_it_has() -> None:
    link = PaperLink(None)
    pace, told = Pace(link), list[tuple[float, str]]()
    link.held = 10
    waiting = asyncio.ensure_future(in_turn(pace, Turn.QUERY, "a", told))
    await asyncio.sleep(0.5)
    assert told == []
    link.held = 0
    await waiting
    assert [name for _, name in told] == ["a"]


async def test_who_comes_while_the_line_is_just_free_goes_behind_those_who_wait() -> None:
    link = PaperLink(None)
    pace, told = Pace(link), list[tuple[float, str]]()
    link.held = 10
    waiting = asyncio.ensure_future(in_turn(pace, Turn.QUERY, "a", told))
    await asyncio.sleep(0)
    link.held = 0
    await in_turn(pace, Turn.QUERY, "b", told)
    await waiting
    assert [name for _, name in told] == ["a", "b"]


@pytest.mark.fault("F45")
async def test_a_line_is_jammed_only_when_it_hands_on_nothing_for_seconds() -> None:
    link, lost = PaperLink(None), list[LinkError]()
    pace, told = Pace(link, lost.append), list[tuple[float, str]]()
    link.held = 20
    waiting = asyncio.ensure_future(in_turn(pace, Turn.QUERY, "a", told))
    for _ in range(10):  # slow, but a byte leaves every second
        await asyncio.sleep(1)
        link.held -= 1
    assert lost == []
    await asyncio.sleep(2 * PATIENT_LOOKS * LOOK_AGAIN_S)
    (error,) = lost
    assert "the last 10 bytes still wait" in str(error)
    pace.end()
    await waiting


async def test_a_line_that_every_look_finds_busy_with_another_frame_is_not_jammed() -> None:
    link, lost = PaperLink(None), list[LinkError]()
    pace, told = Pace(link, lost.append), list[tuple[float, str]]()
    for _ in range(2 * PATIENT_LOOKS):
        link.held = 17
        waiting = asyncio.ensure_future(in_turn(pace, Turn.QUERY, "a", told))
        await asyncio.sleep(1.5 * LOOK_AGAIN_S)
        link.held = 0
        pace.answered()
        await waiting
    assert lost == []


async def test_a_link_that_is_gone_keeps_nobody_waiting() -> None:
    link = PaperLink(None)
    link.held = 10
    pace, told = Pace(link), list[tuple[float, str]]()
    waiting = [asyncio.ensure_future(in_turn(pace, Turn.QUERY, n, told)) for n in "abc"]
    await asyncio.sleep(0.01)
    pace.end()
    async with asyncio.timeout(1):
        await asyncio.gather(*waiting)


# --- a stop under load ---------------------------------------------------------------------------


@pytest.mark.requirement("SR-32")
@pytest.mark.fault("F90")
async def test_a_stop_overtakes_a_thousand_queries_and_waits_for_one_frame_at_most() -> None:
    slow: list[SlowLink] = []

    def wrap(link: Link) -> Link:
        slow.append(SlowLink(link))
        return slow[-1]

    async with road("stimulator") as bench:
        bench.wrap = wrap
        stimulator = await bench.stimulator()
        # The spy stands before the slow wire: the session has to see its rate.
        bench.link.baud = BAUD
        queries = [
            asyncio.ensure_future(stimulator.session.query(AskStatus(), Reply))
            for _ in range(1_000)
        ]
        await rise(0.05)
        loop = asyncio.get_running_loop()
        asked = loop.time()
        stopping = asyncio.ensure_future(stimulator.stop("policy"))
        await asyncio.sleep(0)
        (stop,) = [
            f
            for f, one in zip(bench.link.written, bench.link.requests, strict=True)
            if isinstance(one, Stop)
        ]
        own = len(stop) * BITS_PER_BYTE / BAUD
        longest = max(map(len, bench.link.written)) * BITS_PER_BYTE / BAUD
        assert slow[-1].free_at - asked <= own + longest
        assert slow[-1].most_unsent <= 2
        await stopping
        await asyncio.gather(*queries)


@pytest.mark.requirement("SR-53")
async def test_a_lease_is_renewed_in_time_while_a_thousand_queries_wait() -> None:
    async with road("stimulator") as bench:
        bench.wrap = SlowLink
        stimulator = await bench.stimulator()
        bench.link.baud = BAUD
        await apply_stimulation(stimulator)
        await stimulator.measure()
        await stimulator.start(stimulator.program_named("walking"))
        async with kept_alive(stimulator):
            queries = [
                asyncio.ensure_future(stimulator.session.query(AskStatus(), Reply))
                for _ in range(3_000)
            ]
            await asyncio.gather(*queries)
            bench.runner.step()
            assert flowing(bench.truth.lines) != {}
            assert bench.link.count(Renew) >= 8
