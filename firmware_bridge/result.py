"""What became of a procedure, and what the device's own memory of an id proves of it."""

from dataclasses import dataclass

from device_profiles.errors import DeviceSilent, NeuraxisError
from firmware_bridge.protocol.messages import OutcomeOf
from safety.events import Outcome


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a procedure, and the device's evidence for it."""

    outcome: Outcome
    evidence: str
    settled_by_asking: bool = False
    intent_id: int = 0
    count: OutcomeOf | None = None
    """The device's own answer about the id, where it was asked and had acted on it."""
    error: NeuraxisError | None = None
    """What to raise, where the outcome alone does not say it."""


def settlement(answer: OutcomeOf) -> Result:
    """What the device's own memory of an id proves."""
    if answer.state in ("executed", "running", "interrupted"):
        amount = f", {answer.delivered} nL so far" if answer.delivered else ""
        return Result(
            "delivered",
            f"the reply was lost; asked, the device says: {answer.state}{amount}",
            settled_by_asking=True,
            count=answer,
        )
    if answer.state == "unknown":
        text = (
            "the request was lost on the way; asked, the device never saw it: nothing was changed"
        )
        return Result(
            "refused", text, settled_by_asking=True, error=DeviceSilent(f"{text}; try again")
        )
    text = "the reply was lost; asked, the device says: it refused it"
    return Result("refused", text, settled_by_asking=True)
