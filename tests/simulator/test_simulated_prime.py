"""The simulated pump's prime: it fills the line once for each fill, whatever happens."""

from typing import Any

import pytest
from simulator_bench import BORN_MS, HOUR, MORPHINE, Bench, infusion, pump_status, tip_mass

from firmware_bridge.families.itp.physics import TUBING_NL
from firmware_bridge.families.itp.wire import Bolus, Prime
from firmware_bridge.protocol.messages import Done, OutcomeState, Refused, Stop

VOLUME = TUBING_NL + 286_000
UNPRIMED = infusion(primed=False)


def prime(command_id: int, volume: int = VOLUME, fill_at: int = BORN_MS) -> Prime:
    return Prime(command_id, volume, HOUR, fill_at)


def unprimed() -> Bench:
    return Bench("pump").program(1, UNPRIMED)


def test_a_prime_brings_the_drug_to_the_tip_and_no_further() -> None:
    bench = unprimed()
    assert bench.send(prime(2)) == [Done(2)]
    bench.at(HOUR // 2)
    now = pump_status(bench)
    assert (now.bolus_id, now.line_left) == (2, VOLUME // 2)
    assert now.flow == 240_000 + VOLUME * 24
    assert bench.outcome(2) == ("running", VOLUME // 2)
    bench.at(HOUR)
    now = pump_status(bench)
    assert (now.bolus_id, now.line_left, now.flow) == (0, 0, 240_000)
    assert bench.outcome(2) == ("executed", VOLUME)
    # What has left the tip is the basal of the hour.
    assert tip_mass(bench, "morphine") == 10_000 * MORPHINE


@pytest.mark.requirement("SR-13")
def test_a_fill_is_primed_once_through_resets_and_commits() -> None:
    bench = unprimed()
    bench.send(prime(2))
    bench.at(2 * HOUR)
    moved = pump_status(bench).delivered
    assert bench.refused(prime(3)) == "wrong-state"
    bench.reset()
    assert bench.refused(prime(4)) == "wrong-state"
    assert bench.commit(5, UNPRIMED) == Done(5)
    assert bench.refused(prime(6)) == "wrong-state"
    assert bench.refused(prime(3)) == "wrong-state"
    assert bench.send(prime(2)) == [Done(2)]
    assert pump_status(bench).delivered == moved
    assert pump_status(bench).bolus_id == 0
    refilled = infusion(primed=False, fill_at=BORN_MS + 1)
    assert bench.commit(7, refilled) == Done(7)
    assert bench.send(prime(8, fill_at=BORN_MS + 1)) == [Done(8)]


@pytest.mark.requirement("SR-13")
@pytest.mark.fault("F88")
@pytest.mark.parametrize("cause", ["reset", "battery_reset", "hold", "flow", "empty_reservoir"])
def test_an_interrupted_prime_is_closed_for_good(cause: Any) -> None:
    bench = unprimed()
    bench.send(prime(2))
    bench.at(HOUR // 4)
    if cause in ("hold", "flow"):
        bench.send(Stop(cause))
    else:
        bench.device.inject(cause, bench.now)
        bench.open()
    closed: tuple[OutcomeState, int] = ("interrupted", VOLUME // 4)
    assert bench.outcome(2) == closed
    now = pump_status(bench)
    assert (now.bolus_id, now.line_left) == (0, 0)
    assert bench.send(prime(2)) == [Done(2)]
    assert bench.commit(3, UNPRIMED) == Done(3)
    assert bench.refused(prime(4)) == "wrong-state"
    bench.at(2 * HOUR)
    assert bench.outcome(2) == closed


@pytest.mark.parametrize(
    ("program", "before", "detail"),
    [
        (infusion(), None, "the program says that the line is primed"),
        (infusion(primed=False, fill_at=BORN_MS + 1), None, "the program is for the fill of"),
        (UNPRIMED, Bolus(2, 1_000, HOUR), "a bolus is under way"),
        (UNPRIMED, Stop("hold"), "no prime: the pump is held"),
        (UNPRIMED, Stop("flow"), "no prime: the pump is halted"),
        (None, None, "no prime: the pump is empty-program"),
    ],
)
def test_a_prime_is_refused_in_every_wrong_state(program: Any, before: Any, detail: str) -> None:
    bench = Bench("pump").program(1, program) if program else Bench("pump").open()
    if before is not None:
        bench.send(before)
    refused = bench.ask(prime(3), Refused)
    assert refused.code == "wrong-state"
    assert refused.detail.startswith(detail)


def test_a_prime_is_refused_while_the_patients_bolus_runs() -> None:
    bench = unprimed()
    bench.at(5 * HOUR)
    assert bench.device.press(bench.now)
    assert bench.refused(prime(2)) == "wrong-state"
    bench.at(6 * HOUR)
    assert bench.send(prime(3)) == [Done(3)]


def test_nothing_else_is_given_while_a_prime_runs() -> None:
    bench = unprimed()
    bench.at(5 * HOUR)
    bench.send(prime(2))
    assert bench.refused(Bolus(3, 1_000, HOUR)) == "busy"
    assert isinstance(reply := bench.commit(4, UNPRIMED), Refused)
    assert reply.code == "busy"
    assert not bench.device.press(bench.now)
    assert bench.log()[-1] == "button: nothing, bolus under way"


def test_a_prime_may_use_all_the_flow_the_pump_has_and_no_more() -> None:
    bench = unprimed()
    most = (24_000_000 - 240_000) // 24
    for volume in (0, most + 1):
        assert bench.refused(prime(2 + volume, volume)) == "out-of-range"
    # A refusal has not spent the fill's one prime.
    assert bench.send(prime(9, most)) == [Done(9)]
    assert pump_status(bench).flow == 24_000_000
