"""What the factory built the stimulator for: its own ceilings, whatever any host says.

They are written here on purpose and not read from the device profile: the simulator is the
witness that the judge was right. A test compares them with the profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.families.firmware import Refusal
from firmware_bridge.families.scs.wire import WireArea, WireProgram

CASE = 0


@dataclass(frozen=True, slots=True)
class StimulatorFactory:
    """Ceilings: currents in uA, times in us or ms, rates in mHz, slope in uA/s, battery in mV."""

    contacts: int = 16
    slots: int = 4
    areas: int = 4
    amplitude_max: int = 25_500
    amplitude_step: int = 100
    contact_current_max: int = 12_700
    width_min: int = 20
    width_max: int = 1_000
    width_step: int = 10
    rate_min: int = 2_000
    rate_max: int = 1_200_000
    rate_step: int = 1_000
    rate_high: int = 10_000_000
    interphase_us: int = 20
    cycle_min: int = 1_000
    cycle_max: int = 86_400_000
    slope_max: int = 10_000
    lease_max: int = 10_000
    test_current_max: int = 2_000
    test_width_max: int = 500
    test_pulses_max: int = 20
    battery_low_mv: int = 3_575


FACTORY = StimulatorFactory()


def check_program(program: WireProgram) -> None:
    """Raises Refusal ``out-of-range`` unless the device was built for the program."""
    _check_timing(program)
    if bool(program.stimulate) != bool(program.pause):
        _refuse("a cycle needs both a time of stimulation and a pause")
    if program.stimulate and min(program.stimulate, program.pause) < FACTORY.cycle_min:
        _refuse(f"a cycle's times are at least {FACTORY.cycle_min} ms")
    if max(program.stimulate, program.pause) > FACTORY.cycle_max:
        _refuse(f"a cycle's times are at most {FACTORY.cycle_max} ms")
    for area in program.areas:
        _check_electrodes(area)
        _check_width(area.pulse_width, FACTORY.width_max)
        if area.ceiling > FACTORY.amplitude_max:
            _refuse(f"ceiling {area.ceiling} uA is over {FACTORY.amplitude_max} uA")
        height = area.rise_height
        if height * 1_000 > FACTORY.slope_max * program.ramp:
            _refuse(f"{height} uA in {program.ramp} ms is over {FACTORY.slope_max} uA/s")
    check_amplitudes(program, [area.amplitude for area in program.areas])


def check_amplitudes(program: WireProgram, amplitudes: Sequence[int]) -> None:
    """Raises Refusal ``out-of-range`` unless the areas of a program may carry ``amplitudes``."""
    if len(amplitudes) != len(program.areas):
        _refuse(f"{len(amplitudes)} amplitudes for {len(program.areas)} areas")
    for area, amplitude in zip(program.areas, amplitudes, strict=True):
        if amplitude % FACTORY.amplitude_step:
            _refuse(f"{amplitude} uA is no multiple of {FACTORY.amplitude_step} uA")
        if amplitude > area.ceiling:
            _refuse(f"{amplitude} uA is over the area's ceiling of {area.ceiling} uA")
        for item in area.electrodes:
            current = amplitude * abs(item.share)
            if item.contact != CASE and current > FACTORY.contact_current_max * 100:
                _refuse(f"E{item.contact} would carry over {FACTORY.contact_current_max} uA")


def check_test(current: int, pulse_width: int, pulses: int) -> None:
    """Raises Refusal ``out-of-range`` unless these are pulses to measure impedance with."""
    if not 1 <= current <= FACTORY.test_current_max:
        _refuse(f"a test current is 1 to {FACTORY.test_current_max} uA")
    if not 1 <= pulses <= FACTORY.test_pulses_max:
        _refuse(f"a measurement takes 1 to {FACTORY.test_pulses_max} pulses a contact")
    _check_width(pulse_width, FACTORY.test_width_max)


def check_lease(lease_ms: int) -> None:
    """Raises Refusal ``out-of-range`` unless the output may live on this lease."""
    if not 1 <= lease_ms <= FACTORY.lease_max:
        _refuse(f"a lease is 1 to {FACTORY.lease_max} ms")


def _check_width(width: int, at_most: int) -> None:
    if not FACTORY.width_min <= width <= at_most or width % FACTORY.width_step:
        _refuse(f"pulse width {width} us is not in {FACTORY.width_min} to {at_most} us in steps")


def _check_timing(program: WireProgram) -> None:
    """Every pulse of a period, with its recharge, ends before the next period begins.

    A passive recharge takes at least as long as its pulse; in a burst it follows the last pulse.
    Compared in us x mHz: a second is 10^9 of them.
    """
    rate, second = program.rate, 1_000_000_000
    if program.waveform == "high-frequency":
        allowed = rate == FACTORY.rate_high
    else:
        allowed = FACTORY.rate_min <= rate <= FACTORY.rate_max and not rate % FACTORY.rate_step
    if not allowed:
        _refuse(f"no {program.waveform} stimulation at {rate} mHz")
    burst = program.waveform == "burst"
    if burst != (program.intra_rate > 0) or (not burst and program.burst_pulses != 1):
        _refuse("a burst has pulses and a rate inside it, other waveforms have neither")
    if burst and not rate < program.intra_rate <= FACTORY.rate_max:
        _refuse(f"no burst at {program.intra_rate} mHz inside")
    busy = 0
    for area in program.areas:
        one = 2 * area.pulse_width + FACTORY.interphase_us
        busy += one * rate
        if burst:
            inside = one
            if area.recharge == "passive":
                inside = area.pulse_width + FACTORY.interphase_us
            if inside * program.intra_rate > second:
                _refuse("the pulses of a burst overlap")
            busy += (program.burst_pulses - 1) * second * rate // program.intra_rate
    if busy > second:
        _refuse("the pulses of a period overlap the next period")


def _check_electrodes(area: WireArea) -> None:
    contacts = [item.contact for item in area.electrodes]
    shares = [item.share for item in area.electrodes]
    if len(set(contacts)) != len(contacts) or max(contacts) > FACTORY.contacts:
        _refuse("an area names each of its contacts once, and only contacts that there are")
    if 0 in shares:
        _refuse("a contact of an area has a share")
    if sum(share for share in shares if share > 0) != 100 or sum(shares) != 0:
        _refuse("an area's shares sum to +100 % and to -100 %")


def _refuse(detail: str) -> None:
    raise Refusal("out-of-range", detail)
