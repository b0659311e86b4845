"""Frames that come twice, late, or from another conversation: nothing acts after its denial."""

import pytest
from road_bench import BOLUS_NL, OVER, apply, bolus, bolus_volume, failure, frame, rise, road
from road_bench import both_lines as both_lines

from device_profiles.errors import DeviceSilent
from firmware_bridge.families.itp.wire import Bolus
from firmware_bridge.protocol.messages import AskOutcome, Open, OutcomeOf


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F32")
@pytest.mark.fault("F37")
async def test_a_bolus_that_the_device_never_saw_never_acts_later_not_even_in_its_old_session() -> (
    None
):
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link
        link.swallow = lambda request: isinstance(request, Bolus)
        assert isinstance(await failure(bolus(controller)), DeviceSilent)
        link.swallow = lambda _: False
        place = [type(request) for request in link.requests].index(Bolus)
        old_session = link.sent[place].session
        link.inner.write(frame(0, 1, Open(old_session)))  # a second copy of an old Open
        link.inner.write(link.written[place])  # and then what it once opened the way for
        await rise(OVER / 1_000)
        assert bench.device.done("bolus of") == 0
        assert bolus_volume(bench) <= 1


@pytest.mark.requirement("SR-20")
async def test_asking_after_an_id_closes_it_and_says_the_same_in_effect_ever_after() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        answers = [
            (await controller.session.query(AskOutcome(9_999), OutcomeOf)).state for _ in range(2)
        ]
        assert answers == ["unknown", "refused"]


@pytest.mark.requirement("SR-20")
@pytest.mark.fault("F36")
async def test_a_wrong_session_answer_to_a_second_copy_does_not_strike_out_the_first() -> None:
    async with road("pump") as bench:
        controller = await bench.pump()
        await apply(controller)
        link = bench.link

        def twice_around_a_reset(request: object) -> None:
            if isinstance(request, Bolus):
                bench.runner.inject("reset")

        link.before_write = twice_around_a_reset
        await failure(bolus(controller))
        link.before_write = lambda _: None
        intents = bench.intents()
        happened = bench.device.outcome(max(intents)) in ("executed", "running", "interrupted")
        assert (intents[max(intents)] == "delivered") == happened
        assert bolus_volume(bench) <= BOLUS_NL + 1
