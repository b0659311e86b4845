"""What the factory built the pump for: its own ceilings, whatever any host says.

They are written here on purpose and not read from the device profile: the simulator is the
witness that the judge was right. A test compares them with the profile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.families.firmware import Refusal
from firmware_bridge.families.itp.physics import DAY_MS, PPM, TUBING_NL
from firmware_bridge.families.itp.wire import (
    WireBridge,
    WireDrug,
    WirePatientBolus,
    WirePumpProgram,
    WireStep,
)


@dataclass(frozen=True, slots=True)
class PumpFactory:
    """Ceilings: flows in nL/day, volumes in nL, times in ms."""

    reservoir: int = 20_000_000
    tubing: int = TUBING_NL
    flow_min: int = 48_000
    flow_max: int = 24_000_000
    lockout_min: int = 60_000
    lockout_max: int = DAY_MS
    boluses_per_day_max: int = 96
    catheter_max: int = 1_000_000
    accuracy: int = 145_000
    """ppm."""


FACTORY = PumpFactory()


def in_place(bridged: int) -> int:
    """nL to count until a pump at the bottom of its accuracy has moved a bridge's nL."""
    return -(-bridged * PPM // (PPM - FACTORY.accuracy))


def check_program(program: WirePumpProgram) -> None:
    """Raises Refusal ``out-of-range`` unless the pump was built for the program."""
    _check_flow(program.drugs, program.basal)
    for volume in (program.fill_volume, program.low_reservoir):
        if volume > FACTORY.reservoir:
            _refuse(f"{volume} nL is more than the reservoir's {FACTORY.reservoir} nL")
    if program.catheter > FACTORY.catheter_max:
        _refuse(f"a catheter of {program.catheter} nL is over {FACTORY.catheter_max} nL")
    if program.patient_bolus is not None:
        _check_button(program, program.patient_bolus)
    if program.bridge is not None:
        _check_bridge(program.bridge)


def check_bolus(program: WirePumpProgram, volume: int, over: int) -> None:
    """Raises Refusal ``out-of-range`` unless a bolus or prime fits over the day's highest basal."""
    if not volume or not over:
        _refuse("a bolus has a volume and a time")
    highest = max(step.flow for step in program.basal)
    if highest * over + volume * DAY_MS > FACTORY.flow_max * over:
        _refuse(f"basal and bolus together are over {FACTORY.flow_max} nL/day")


def _check_flow(drugs: Sequence[WireDrug], basal: Sequence[WireStep]) -> None:
    names = [drug.name for drug in drugs]
    if len(set(names)) != len(names):
        _refuse("a drug is named twice")
    starts = [step.start for step in basal]
    if starts != sorted(set(starts)):
        _refuse("basal steps are not in the order of their minutes")
    for step in basal:
        if not FACTORY.flow_min <= step.flow <= FACTORY.flow_max:
            _refuse(f"{step.flow} nL/day is not {FACTORY.flow_min} to {FACTORY.flow_max} nL/day")


def _check_bridge(bridge: WireBridge) -> None:
    _check_flow(bridge.drugs, bridge.basal)
    if not 0 < bridge.volume <= FACTORY.reservoir:
        _refuse(f"a bridge of {bridge.volume} nL is not 1 to {FACTORY.reservoir} nL")


def _check_button(program: WirePumpProgram, button: WirePatientBolus) -> None:
    if button.lockout < max(button.over, FACTORY.lockout_min):
        _refuse(f"a lockout is at least {FACTORY.lockout_min} ms and the bolus' own time")
    if button.lockout > FACTORY.lockout_max:
        _refuse(f"a lockout is at most {FACTORY.lockout_max} ms")
    if button.max_per_24h > FACTORY.boluses_per_day_max:
        _refuse(f"at most {FACTORY.boluses_per_day_max} boluses in 24 h")
    check_bolus(program, button.volume, button.over)


def _refuse(detail: str) -> None:
    raise Refusal("out-of-range", detail)
