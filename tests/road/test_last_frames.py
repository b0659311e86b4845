"""Every error of the line shows the last frames, and what each of them was."""

import pytest
from road_bench import apply, road, take_over
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceFault, DeviceSilent, LinkLost
from firmware_bridge.exchange import BYTES_SHOWN, LAST_FRAMES
from firmware_bridge.protocol.messages import AskStatus, Identity, Read
from firmware_bridge.simulator.faults import PlannedFault


def fault(name: str, request: str, count: int = 1) -> PlannedFault:
    return PlannedFault(name, request=request, count=count)


def frames_in(error: Exception) -> list[str]:
    """The frames that an error shows, the newest last."""
    assert str(error).count(LAST_FRAMES) == 1, str(error)
    return str(error).partition(LAST_FRAMES)[2].split("; ")


def answers(error: Exception, *expected: str) -> None:
    """The last frames, by direction and name."""
    named = [" ".join(one.split(" ")[:2]) for one in frames_in(error)]
    assert tuple(named[-len(expected) :]) == expected


async def test_a_silent_line_shows_what_was_asked_in_vain() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        bench.runner.inject("silence")
        with pytest.raises(DeviceSilent) as caught:
            await controller.sample()
        answers(caught.value, "> AskStatus", "> AskStatus", "> AskStatus")


async def test_a_lost_line_shows_what_was_under_way_and_again_what_went_before() -> None:
    async with road("stimulator", [fault("unplug", "status", 2)]) as bench:
        controller = await bench.stimulator()
        with pytest.raises(LinkLost) as caught:
            await controller.sample()
        answers(caught.value, "> AskStatus")
        with pytest.raises(LinkLost) as again:
            await controller.sample()
        answers(again.value, "> AskStatus")
        assert "went away" in str(again.value) or "unplugged" in str(again.value)


async def test_a_link_that_takes_no_bytes_shows_the_frame_it_did_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()

        def refuse(_: bytes) -> None:
            raise LinkLost("the line is gone")

        monkeypatch.setattr(bench.link, "write", refuse)
        with pytest.raises(LinkLost) as caught:
            await controller.sample()
        answers(caught.value, "> AskStatus")


async def test_a_forgotten_conversation_shows_the_refusal() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        take_over(bench, 77)
        with pytest.raises(DeviceFault) as caught:
            await controller.session.query(Read(0), Identity)
        answers(caught.value, "< Refused(wrong-session)")


async def test_an_unexpected_answer_is_shown() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        with pytest.raises(DeviceFault) as caught:
            await controller.session.query(AskStatus(), Identity)
        answers(caught.value, "> AskStatus", "< PumpStatus")


async def test_another_device_is_shown() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        bench.runner.inject("wrong_serial")
        with pytest.raises(DeviceFault) as caught:
            await controller.session.open()
        answers(caught.value, "> Identify", "< Identity")


async def test_a_long_frame_is_cut_and_says_how_long_it_is() -> None:
    async with road("stimulator") as bench:
        controller = await bench.stimulator()
        await apply(controller)
        with pytest.raises(DeviceFault) as caught:
            await controller.session.query(Read(0), Identity)
        last = frames_in(caught.value)[-1]
        assert last.startswith("< ProgramRead ")
        assert last.endswith(" bytes)")
        assert len(last) < 3 * BYTES_SHOWN
