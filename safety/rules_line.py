"""Rules about what lies between the reservoir and the tip: bridges and the one prime of a fill."""

from collections.abc import Sequence

from device_profiles.diagnostics import Finding
from device_profiles.profile import PumpProfile
from device_profiles.quantities import Milliseconds
from safety.commands import Instant, ProgramPump
from safety.outputs import PrimeOutput, PumpProgram
from safety.state import LineMove


def bridge_end(
    program: PumpProgram, profile: PumpProfile, begun: Milliseconds
) -> Milliseconds | None:
    """The slow time by which a program's bridge has surely ended; ``None`` without a bridge."""
    return None


def judge_bridge(
    current: PumpProgram | None,
    command: ProgramPump,
    moves: Sequence[LineMove],
    now: Instant,
) -> list[Finding]:
    """SR-12: another concentration only over a bridge that is right, or a waiver."""
    if current is None or current.drugs == command.program.drugs:
        return []
    return [
        Finding(
            rule="SR-12",
            severity="soft",
            path="drugs",
            message=(
                "the drugs or their concentration differ from what is still in the tubing and the "
                "catheter: without a bridge the dose is wrong for hours, up to the ratio of the "
                "concentrations"
            ),
            hint="flush the line, then waive this with --override SR-12 --reason TEXT",
        )
    ]


def judge_line_is_still(moves: Sequence[LineMove], now: Instant) -> list[Finding]:
    """SR-12, SR-13: no bolus while a bridge or a prime may be under way."""
    return []


def judge_prime(
    current: PumpProgram | None,
    primed_fills: Sequence[Milliseconds],
    prime: PrimeOutput,
    profile: PumpProfile,
) -> list[Finding]:
    """SR-13: the line is filled once for each fill, by exactly its own volume."""
    return []
