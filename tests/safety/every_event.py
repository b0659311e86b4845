"""One event of every kind, some twice: what a journal must be able to hold."""

from dataclasses import replace

from clinical_examples import FORMULARY, MORPHINE_DAY, NIGHT, WALKING, compiled
from disk_bench import connected, intended, opened
from kernel_bench import MG_PER_ML, TEST_PULSES, bolus_nl, flowing, instant, pump_case

from device_profiles.diagnostics import Finding
from device_profiles.quantities import MicroAmps, Milliseconds, NanoLitres, Ohms
from safety.alarms import Alarm
from safety.commands import Override
from safety.events import (
    Checkpointed,
    Cleared,
    Counted,
    Event,
    Found,
    Intended,
    Latched,
    Looked,
    Lowered,
    Measured,
    Metered,
    MriEntered,
    MriLeft,
    Paused,
    Raised,
    Rejected,
    Settled,
    Stopped,
    Unverified,
)
from safety.limits import pump_limits
from safety.outputs import Bridge, DrugInPump, PrimeOutput

LIMITS, _ = pump_limits(MORPHINE_DAY, FORMULARY)
BRIDGE = Bridge(
    (DrugInPump("morphine", MG_PER_ML),), compiled(MORPHINE_DAY).basal, NanoLitres(485_000)
)
EVERY_EVENT: list[Event] = [
    opened(),
    connected(),
    Found(instant(1), pump_case().program),
    intended(1, 1),
    Intended(instant(1), 2, "program-stimulator", (WALKING, NIGHT), "BENCH-007"),
    Intended(
        instant(1),
        3,
        "start-stimulation",
        (flowing(WALKING),),
        "BENCH-007",
        override=Override(("SR-41",), "clinician", "wegen Müller, 誰か", second="nurse"),
        passed=("SR-41",),
    ),
    Intended(instant(1), 4, "measure-impedance", (TEST_PULSES,), "BENCH-007"),
    Intended(
        instant(1),
        5,
        "program-pump",
        (compiled(MORPHINE_DAY),),
        "BENCH-012",
        LIMITS,
        timezone="Europe/Berlin",
    ),
    Intended(
        instant(1),
        2**63,
        "give-bolus",
        (bolus_nl(1).bolus,),
        "BENCH-012",
        drugs=(DrugInPump("morphine", MG_PER_ML), DrugInPump("bupivacaine", MG_PER_ML)),
        latest_end=Milliseconds(2**40),
    ),
    Intended(
        instant(1),
        8,
        "program-pump",
        (replace(compiled(MORPHINE_DAY), bridge=BRIDGE),),
        "BENCH-012",
        LIMITS,
        stray=NanoLitres(70_325),
        latest_end=Milliseconds(2**41),
        timezone="Europe/Berlin",
    ),
    Intended(
        instant(1),
        9,
        "prime",
        (PrimeOutput(NanoLitres(423_580), Milliseconds(3_600_000), Milliseconds(2**40)),),
        "BENCH-012",
        drugs=(DrugInPump("morphine", MG_PER_ML),),
        stray=NanoLitres(22_900),
        latest_end=Milliseconds(2**41),
    ),
    Rejected(instant(2), 6, "give-bolus", (Finding("SR-14", "hard", "bolus", "too much"),)),
    Rejected(
        instant(2),
        7,
        "program-pump",
        (Finding("SR-04", "hard", "basal", "too much", "2 mg", "1 mg", "patient", "lower it"),),
        (compiled(MORPHINE_DAY),),
        "BENCH-012",
        LIMITS,
        Override((), "nurse", ""),
    ),
    Settled(instant(3), 6, "UNCERTAIN", ""),
    Counted(instant(3), 1, "interrupted", NanoLitres(400)),
    Settled(instant(3), 8, "delivered", ""),
    Counted(instant(3), 8, "executed", NanoLitres(485_000)),
    Unverified(instant(3), 0, "on connecting, the device holds another program", False),
    Measured(instant(4), 7, (Ohms(500), Ohms(0))),
    Metered(
        instant(4),
        Milliseconds(2**41),
        NanoLitres(10**7),
        NanoLitres(5),
        Milliseconds(7),
        NanoLitres(0),
    ),
    Lowered(instant(5), (MicroAmps(0),)),
    Stopped(instant(6), "flow", False),
    Raised(instant(7), Alarm("a", "HIGH", "SR-54", "b")),
    Cleared(instant(7), "a"),
    Paused(instant(7), "nurse", Milliseconds(5)),
    Looked(instant(7), "nurse", "the catheter was kinked"),
    MriEntered(instant(8), "nurse", "run `neuraxis mri leave`"),
    MriLeft(instant(8), "nurse", "read back equal"),
    Checkpointed(instant(8), bytes(range(32)), 1),
    Latched(instant(8), "the disk is full", True),
]
