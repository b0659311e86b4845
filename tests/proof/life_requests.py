"""What is asked for in a pump's life: doses and flows that meet their limits to the unit."""

from random import Random
from typing import cast

from .chronicle import DAY, MINUTE, Bolus, Drug, Program, Reason
from .pump_life import LIBRARIES, OTHER_PATIENT, PATIENT, Approval, Life
from .slow_rules import FLOW_MAX, HOUR, WINDOWS, has_same_mix, most_of_basal_and_buttons
from .slow_twin import POLL, may_flow

USER = "clinician"
REASONS = (
    ("SR-05",),
    ("SR-12",),
    ("SR-04", "SR-05", "SR-12", "SR-14", "SR-63"),
    ("SR-12", "SR-25", "SR-63"),
    ("SR-04", "SR-05", "SR-08", "SR-11", "SR-12", "SR-25", "SR-63"),
)
SECONDS = (None, "nurse", USER, " Clini cian")
"""Who else stands for a reason; the last two are its user again."""
SAME_ID_OFTEN = 0.02
OTHER_PATIENT_OFTEN = 0.05
OTHER_LIBRARY_OFTEN = 0.06


def ask_for_bolus(life: Life, chance: Random) -> None:
    """A bolus, often one that just fits, or is one nanolitre too much."""
    over = chance.choice((1_000, 30_000, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR))
    volume = chance.choice((1, 1_000, 2_000, 3_000, 8_000))
    so_far = life.twin.so_far
    if so_far.current is not None and chance.random() < 0.6:
        volume = _room(life, cast("Program", so_far.current.granted.what))
        volume += chance.choice((-1, 0, 0, 1))
        if chance.random() < 0.3:
            volume //= 2
    elif chance.random() < 0.1:
        volume = chance.choice((0, -1, 65_535, 65_536, 65_537, 66_536))
    if chance.random() < 0.01:
        over = 0
    seen_ago: int | None = 0
    if chance.random() < 0.03:
        stale = 3 * POLL * life.twin.speed
        seen_ago = chance.choice((None, -1, stale, stale + 1))
    own, approval = _id(life, chance), _approval(life, chance)
    life.ask(Bolus(volume, over), None, seen_ago, own=own, approval=approval)


def _room(life: Life, program: Program) -> int:
    """The largest bolus that every window and its own limit have room for, nL."""
    rooms = [
        (limit - life.twin.worst(life.twin.so_far, drug, window, life.now)) // drug.strength
        for drug in program.drugs
        for window, limit in zip(WINDOWS, drug.per_window, strict=True)
    ]
    rooms += [d.per_bolus // d.strength for d in program.drugs if d.per_bolus is not None]
    return int(min(rooms))


def ask_for_program(life: Life, chance: Random) -> None:
    """One of the pump's programs, as it is or changed at the edge of what fits."""
    program = chance.choice(life.setting.programs)
    so_far = life.twin.so_far
    if so_far.verified is not None and chance.random() < 0.25:
        program = so_far.verified
    if chance.random() < 0.3 and len(program.basal) == 1:
        program = _at_the_edge(life, program, chance)
    if chance.random() < 0.15:
        # Limits that are narrower than what is in the pump: a reason is needed to go on with it.
        program = program._replace(drugs=tuple(_narrowed(drug) for drug in program.drugs))
    reason = None
    is_other_mix = so_far.verified is not None and not has_same_mix(program, so_far.verified)
    if is_other_mix and chance.random() < 0.5:
        reason = Reason(REASONS[-1], USER, "nurse", DAY)
    elif chance.random() < 0.6:
        valid_for = chance.choice((0, 1, HOUR, DAY, DAY, 7 * DAY, 7 * DAY + 1))
        reason = Reason(chance.choice(REASONS), USER, chance.choice(SECONDS), valid_for)
    life.ask(
        program,
        reason,
        own=_id(life, chance),
        patient=_patient(life, chance),
        approval=_approval(life, chance),
        library=_library(chance),
    )


def insist(life: Life, chance: Random) -> None:
    """Going on with what flows though its limits, or the library, are narrower by now."""
    verified = life.twin.so_far.verified
    if verified is None:
        return
    library = chance.choice(("usual", *LIBRARIES))
    if library == "usual":
        verified = verified._replace(drugs=tuple(_narrowed(drug) for drug in verified.drugs))
    reason = Reason(REASONS[-1], USER, chance.choice(SECONDS), DAY)
    life.ask(verified, reason, library=library)


def titrate(life: Life, chance: Random) -> None:
    """A little more, three times, on the word of one person or of two."""
    for _ in range(3):
        verified = life.twin.so_far.verified
        if verified is None:
            return
        steps = tuple((start, min(flow + 240, FLOW_MAX)) for start, flow in verified.basal)
        reason = Reason(REASONS[-1], USER, chance.choice(SECONDS), DAY)
        life.ask(verified._replace(basal=steps), reason)
        life.answer(life.ids, "delivered")
        life.now += chance.choice((0, HOUR, DAY // 2, DAY // 2 + 1))


def _id(life: Life, chance: Random) -> int | None:
    """Now and then an id that was used before."""
    used = list(life.twin.so_far.commands)
    return chance.choice(used) if used and chance.random() < SAME_ID_OFTEN else None


def _patient(life: Life, chance: Random) -> str:
    proved = life.twin.so_far.proved
    if chance.random() < OTHER_PATIENT_OFTEN:
        return OTHER_PATIENT
    return PATIENT if proved is None else proved.granted.patient


def _approval(life: Life, chance: Random) -> Approval | None:
    """What was approved is asked for once, or a second time."""
    approval = life.approval if chance.random() < 0.7 else None
    if approval is not None and chance.random() < 0.7:
        life.approval = None
    return approval


def _library(chance: Random) -> str:
    return chance.choice(tuple(LIBRARIES)) if chance.random() < OTHER_LIBRARY_OFTEN else "usual"


def _narrowed(drug: Drug) -> Drug:
    hour = drug.per_window[0] // 3
    per_bolus = None if drug.per_bolus is None else min(drug.per_bolus, hour)
    return drug._replace(per_bolus=per_bolus, per_window=(hour, *drug.per_window[1:]))


def _at_the_edge(life: Life, program: Program, chance: Random) -> Program:
    """The same program with the flow that just fits beside what may lie in the windows."""
    so_far, idle = life.twin.so_far, program._replace(basal=((0, 0),))
    others = frozenset(may_flow(so_far, life.now) or [idle])
    drug = program.drugs[0]
    flows = []
    for window, limit in zip(WINDOWS, drug.per_window, strict=True):
        standing = life.twin.worst(so_far, drug, window, life.now, idle)
        basal = most_of_basal_and_buttons(others, drug.name, window)
        flows.append((limit - standing + basal) * DAY // window // drug.strength)
    flow = int(min(flows)) + chance.choice((-1, 0, 1))
    return program._replace(basal=((0, min(max(flow, 48_000), 24_000_000)),))
