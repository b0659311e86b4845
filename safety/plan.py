"""The digest that binds a confirmation to exactly what was shown, for ten minutes."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import cbor2

from device_profiles.errors import Refused
from device_profiles.quantities import Milliseconds
from safety.events import DeviceIdentity
from safety.journal_format import plain
from safety.limits import PumpLimits
from safety.outputs import Output

PLAN_LIFE = Milliseconds(600_000)
CLOCK_SLACK = Milliseconds(1_000)
_FORM = re.compile(r"([0-9a-f]{24})-([0-9]{1,12})", re.ASCII)


@dataclass(frozen=True, slots=True)
class PlanContent:
    """All that a confirmation stands for.

    ``read_back`` are the device's programs as bytes; ``lowerings`` counts the stops and lowerings
    that were sent: one may be on its way that the ``epoch`` of the state does not know yet.
    """

    outputs: tuple[Output, ...]
    identity: DeviceIdentity
    read_back: tuple[bytes, ...]
    limits: PumpLimits | None
    profile: Any
    patient: str
    epoch: int
    lowerings: int


def plan_digest(content: PlanContent, made: Milliseconds) -> str:
    """The digest of a plan made at a wall time: 24 hex digits, a dash, seconds of Unix time.

    The time is part of what is hashed, so it cannot be moved without voiding the digest.
    """
    seconds = made // 1_000
    body = cbor2.dumps([plain(content), seconds], canonical=True)
    return f"{hashlib.sha256(body).hexdigest()[:24]}-{seconds}"


def confirm(digest: str, content: PlanContent, now: Milliseconds) -> None:
    """SR-58: accepts a digest only for this very content and within ten minutes; else Refused."""
    match = _FORM.fullmatch(digest)
    if match is None:
        raise Refused(
            f"{digest!r} is not a plan's digest; take it from the last line of `neuraxis plan`"
        )
    made = Milliseconds(int(match[2]) * 1_000)
    if plan_digest(content, made) != digest:
        raise Refused(
            "this digest is not of this plan: the file, the device, its program, the limits or "
            "the history differ from what was confirmed; make a new plan and read it again"
        )
    if not -CLOCK_SLACK <= now - made <= PLAN_LIFE:
        raise Refused(
            f"this plan was made {(now - made) // 60_000} minutes ago and is good for "
            f"{PLAN_LIFE // 60_000}; make a new plan and read it again"
        )
