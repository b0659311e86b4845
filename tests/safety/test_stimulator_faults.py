"""Bad values for a stimulator, numbers 13 to 18 of the fault list, each at L - 1, L and L + 1.

Every guard is also asked alone, so that none hides behind another.
"""

from dataclasses import replace

import pytest
from clinical_examples import SCS, WALKING, area, burst, high_frequency, shares, tonic
from kernel_bench import GOOD_OHMS, start, stimulator

from device_profiles.quantities import MicroAmps, Microseconds, MilliHertz, Milliseconds, Ohms
from safety.charge import charge_thresholds
from safety.commands import ChangeAmplitude
from safety.events import Intended, Measured, Rejected
from safety.outputs import AreaOutput, Stimulation, StimulatorProgram
from safety.review import review_stimulation
from safety.rules_stimulation import judge_amplitude, judge_charge, judge_electrodes
from safety.rules_timing import judge_ramp, judge_rate, judge_timing

LIMITS = charge_thresholds(SCS.charge, SCS.contact_area)


def hard(program: StimulatorProgram) -> set[str]:
    return {one.rule for one in review_stimulation((program,), SCS) if one.severity == "hard"}


# --- F13: charge ------------------------------------------------------------------------------


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F13")
@pytest.mark.parametrize(("more", "refused"), [(-1, False), (0, True), (1, True)])
def test_legal_amplitude_and_legal_width_with_too_much_charge_together_are_refused(
    more: int, refused: bool
) -> None:
    """The hard ceiling is a density that may be reached and not passed: 60 uC/cm2."""
    level = MicroAmps(LIMITS.density_hard + more)
    one = AreaOutput(shares("E3 -100, case +100"), level, level, Microseconds(1), "active")
    found = judge_charge(tonic(one, rate="2 Hz"), SCS)
    assert any(finding.severity == "hard" for finding in found) == refused


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("amplitude", "refused"), [("7.3 mA", False), ("7.4 mA", True), ("7.5 mA", True)]
)
def test_the_hard_ceiling_lies_between_two_steps_of_the_device(
    amplitude: str, refused: bool
) -> None:
    """At 1,000 us on one contact 7.35 mA are 60 uC/cm2; both values alone are in range."""
    program = tonic(area("E3 -100, case +100", amplitude, width="1000 us"))
    assert hard(program) == ({"SR-41"} if refused else set())
    assert judge_amplitude(program, SCS) == judge_timing(program, SCS) == []


# --- F15: phases that overlap ---------------------------------------------------------------------


@pytest.mark.requirement("SR-48")
@pytest.mark.fault("F15")
@pytest.mark.vector("V8.7")
@pytest.mark.parametrize(
    ("program", "refused"),
    [
        (tonic(area(amplitude="1 mA", width="1000 us"), rate="494 Hz"), False),
        (tonic(area(amplitude="1 mA", width="1000 us"), rate="495 Hz"), False),
        (tonic(area(amplitude="1 mA", width="1000 us"), rate="496 Hz"), True),
        (tonic(area(amplitude="1 mA", width="1000 us"), rate="1200 Hz"), True),
        (high_frequency(area(amplitude="1 mA", width="30 us")), False),
        (high_frequency(area(amplitude="1 mA", width="40 us")), False),
        (high_frequency(area(amplitude="1 mA", width="50 us")), True),
        (high_frequency(area(amplitude="1 mA", width="60 us")), True),
        (burst(area(amplitude="0.6 mA", width="1000 us", recharge="passive")), False),
    ],
)
def test_phases_that_would_overlap_are_refused(program: StimulatorProgram, refused: bool) -> None:
    """2 x 1,000 + 20 us fill 2,020 us: 495 Hz has 2,020.2 us and 496 Hz 2,016.1 us."""
    assert bool(judge_timing(program, SCS)) == refused
    assert judge_rate(program, SCS) == []


@pytest.mark.requirement("SR-49")
@pytest.mark.vector("V8.7")
@pytest.mark.parametrize(
    ("rate", "refused"),
    [(1_199_000, False), (1_200_000, False), (1_201_000, True), (5_000_000, True)],
)
def test_a_rate_in_the_gap_is_refused(rate: int, refused: bool) -> None:
    program = replace(tonic(area(amplitude="0.1 mA", width="20 us")), rate=MilliHertz(rate))
    assert bool(judge_rate(program, SCS)) == refused


# --- F16: together too much ---------------------------------------------------------------------


@pytest.mark.requirement("SR-41")
@pytest.mark.fault("F16")
@pytest.mark.parametrize(
    ("width", "asks"), [("300 us", False), ("310 us", False), ("320 us", True)]
)
def test_areas_that_are_legal_alone_ask_for_a_reason_when_a_contact_bears_them_all(
    width: str, asks: bool
) -> None:
    """Two areas of 2 mA at 1,200 Hz: 1,500 uC/s are reached at 312.5 us."""
    one = area("E3 -100, case +100", "2 mA", width=width)
    alone, together = tonic(one, rate="1200 Hz"), tonic(one, one, rate="1200 Hz")
    assert judge_charge(alone, SCS) == []
    assert bool(judge_charge(together, SCS)) == asks


@pytest.mark.requirement("SR-46")
@pytest.mark.fault("F16")
@pytest.mark.parametrize(
    ("amplitude", "refused"), [("25.3 mA", False), ("25.4 mA", False), ("25.5 mA", True)]
)
def test_a_current_within_the_device_that_is_too_much_for_a_contact_is_refused(
    amplitude: str, refused: bool
) -> None:
    program = tonic(area("E3 -50, E4 -50, case +100", amplitude, width="20 us"))
    assert bool(judge_electrodes(program, SCS)) == refused


# --- F17: contacts that are not there -------------------------------------------------------------


@pytest.mark.requirement("SR-46")
@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("contact", "refused"),
    [(-1, True), (0, False), (15, False), (16, False), (17, True), (255, True)],
)
def test_a_contact_that_the_device_has_not_is_refused(contact: int, refused: bool) -> None:
    circuit = shares("E3 -100, E4 +100")
    moved = (circuit[0], replace(circuit[1], contact=contact))
    program = tonic(replace(area(), electrodes=moved))
    assert bool(judge_electrodes(program, SCS)) == refused


@pytest.mark.requirement("SR-46")
@pytest.mark.fault("F17")
def test_a_contact_that_is_cathode_and_anode_at_once_is_refused() -> None:
    both = tonic(area("E3 -100, E3 +100", "1 mA"))
    assert [one.path for one in judge_electrodes(both, SCS)] == [
        "programs[0].areas[0].electrodes.E3"
    ]


# --- F18: a ramp too steep to a legal amplitude ----------------------------------


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F18")
@pytest.mark.parametrize(("ramp", "refused"), [(1_199, True), (1_200, False), (1_201, False)])
def test_a_legal_amplitude_on_too_steep_a_ramp_is_refused(ramp: int, refused: bool) -> None:
    """12 mA at 10 mA/s take 1,200 ms."""
    program = replace(
        tonic(area("E3 -50, E4 -50, case +100", "12 mA", width="20 us")), ramp=Milliseconds(ramp)
    )
    assert bool(judge_ramp(program, SCS)) == refused
    assert judge_amplitude(program, SCS) == []


@pytest.mark.requirement("SR-50")
@pytest.mark.fault("F18")
def test_an_area_that_is_set_to_zero_is_judged_by_the_slope_to_its_ceiling() -> None:
    """A start from zero ends at the ceiling at the latest, on the program's own slope."""
    program = replace(tonic(area(amplitude="0 mA", ceiling="10 mA")), ramp=Milliseconds(1_000))
    assert judge_ramp(program, SCS) == []
    assert judge_ramp(replace(program, ramp=Milliseconds(999)), SCS)
    steeper = tonic(area(amplitude="0 mA", ceiling="10.1 mA"))
    assert judge_ramp(replace(steeper, ramp=Milliseconds(1_000)), SCS)


# --- golden 8.8 at the kernel ----------------------------------


@pytest.mark.requirement("SR-47")
@pytest.mark.fault("F112")
@pytest.mark.vector("V8.8")
@pytest.mark.parametrize(
    ("ohms", "refused"), [(1_499, False), (1_500, False), (1_501, True), (1_600, True)]
)
def test_a_raise_to_what_the_voltage_cannot_drive_is_refused(ohms: int, refused: bool) -> None:
    """10 mA need 15 V at 1,500 ohm."""
    program = replace(WALKING, areas=(area("E1 -100, case +100", "1 mA", "10 mA", "20 us"),))
    story = stimulator((program,))
    measured = (Ohms(ohms), *GOOD_OHMS[1:])
    story.tell(Measured(story.journal[-1].at, 99, measured))
    story.do(start(program))
    raised = ChangeAmplitude(Stimulation(program, (MicroAmps(10_000),)), SCS)
    assert isinstance(story.ask(raised), Rejected if refused else Intended)
