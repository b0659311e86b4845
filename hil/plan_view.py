"""Old and new side by side, in clinical units: what a person reads before confirming."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_profiles.notation import (
    mass_unit_for,
    write_concentration,
    write_count,
    write_current,
    write_duration,
    write_flow,
    write_frequency,
    write_mass,
    write_mass_rate,
    write_mass_rate_by_hour,
    write_minute_of_day,
    write_share,
    write_volume,
    write_width,
)
from device_profiles.quantities import (
    DAY_MINUTES,
    DAY_MS,
    Milliseconds,
    NanogramsPerMillilitre,
    NanoLitres,
    charge_per_phase,
    mass_of,
    mass_rate_of,
    share_of,
)
from device_profiles.therapy import CASE, contact_name
from firmware_bridge.controller import Plan
from hil.check import finding_as_json
from hil.keys import UNSEALED
from safety.charge import microcoulombs
from safety.dose import basal_mass, worst_case_mass
from safety.outputs import AreaOutput, Output, PumpProgram, StimulatorProgram
from safety.rules_bridge import bridge_words

Row = tuple[str, str]
NONE = "(none)"
UNREADABLE = "(unreadable)"


def plan_view(plan: Plan) -> RenderableType:
    """The plan as a table of old and new; a changed row is marked."""
    table = Table(title=f"{plan.identity.serial} ({plan.identity.model})", title_justify="left")
    table.add_column("setting", style="bold")
    table.add_column("in the device now")
    table.add_column("after apply")
    for label, old, new in side_by_side(plan.old, plan.new):
        mark = "bold yellow" if old != new else "dim"
        table.add_row(label, old, Text(new, style=mark))
    return Group(table, *(Text(line) for line in (*plan.notes, *_closing(plan))))


def _closing(plan: Plan) -> list[str]:
    expires = datetime.fromtimestamp(plan.expires // 1_000).strftime("%H:%M:%S")
    line = [] if plan.sealed else [f"line:    {UNSEALED}"]
    return [
        *line,
        f"verdict: {plan.verdict}",
        f"digest:  {plan.digest}   (until {expires})",
    ]


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """The plan as the schema ``neuraxis.plan/1`` has it."""
    return {
        "schema": "neuraxis.plan/1",
        "serial": plan.identity.serial,
        "model": plan.identity.model,
        "sealed": plan.sealed,
        "verdict": plan.verdict,
        "digest": plan.digest,
        "made_ms": plan.made,
        "expires_ms": plan.expires,
        "changes": [
            {"setting": label, "old": old, "new": new}
            for label, old, new in side_by_side(plan.old, plan.new)
        ],
        "notes": list(plan.notes),
        "findings": [finding_as_json(finding) for finding in plan.findings],
    }


def side_by_side(old: Sequence[Output] | None, new: Sequence[Output]) -> list[tuple[str, str, str]]:
    """Rows of label, old and new; a setting that only one side has shows "(none)" on the other.

    ``old`` is ``None`` when the device holds something that cannot be read.
    """
    before = dict(_rows(old or ()))
    after = dict(_rows(new))
    labels = list(dict.fromkeys([*after, *before]))
    missing = NONE if old is not None else UNREADABLE
    return [(label, before.get(label, missing), after.get(label, NONE)) for label in labels]


def _rows(outputs: Sequence[Output]) -> list[Row]:
    rows: list[Row] = []
    for output in outputs:
        if isinstance(output, StimulatorProgram):
            rows += _stimulator_rows(output)
        elif isinstance(output, PumpProgram):
            rows += _pump_rows(output)
    return rows


# --- stimulator ------------------------------------------------------------------------------


def _stimulator_rows(program: StimulatorProgram) -> list[Row]:
    name = program.name
    rate = write_frequency(program.rate)
    if program.waveform == "burst":
        inside = write_frequency(program.intra_rate)
        rate = f"{rate}, {write_count(program.burst_pulses)} pulses at {inside}"
    rows = [(f"{name}: waveform", program.waveform), (f"{name}: rate", rate)]
    for number, area in enumerate(program.areas, start=1):
        label = name if len(program.areas) == 1 else f"{name}, area {number}"
        rows += _area_rows(label, area)
    rows.append((f"{name}: ramp", write_duration(program.ramp)))
    if program.stimulate:
        cycle = f"{write_duration(program.stimulate)} on, {write_duration(program.pause)} off"
        rows.append((f"{name}: cycle", cycle))
    return rows


def _area_rows(label: str, area: AreaOutput) -> list[Row]:
    electrodes = ", ".join(
        f"{contact_name(e.contact)} {write_share(e.share)}" for e in area.electrodes
    )
    driven = [e for e in area.electrodes if e.contact != CASE]
    worst = max(
        (charge_per_phase(share_of(area.amplitude, e.share), area.pulse_width) for e in driven),
        default=0,
    )
    return [
        (f"{label}: electrodes", electrodes),
        (f"{label}: amplitude", write_current(area.amplitude)),
        (f"{label}: patient's ceiling", write_current(area.ceiling)),
        (f"{label}: pulse width", f"{write_width(area.pulse_width)}, {area.recharge} recharge"),
        (f"{label}: largest charge a phase", microcoulombs(worst)),
    ]


# --- pump ------------------------------------------------------------------------------------


def _pump_rows(program: PumpProgram) -> list[Row]:
    rows: list[Row] = []
    for drug in program.drugs:
        rows.append((f"{drug.name}: concentration", write_concentration(drug.concentration)))
    rows += [
        ("fill", f"{write_volume(program.fill_volume)} at {_utc(program.fill_at_ms)}"),
        ("low-reservoir alarm at", write_volume(program.low_reservoir)),
        ("catheter", f"{write_volume(program.catheter)}, {_primed(program)}"),
        ("pump's local time", _offset(program.utc_offset_min)),
    ]
    if program.bridge is not None:
        told = f"{bridge_words(program.bridge)}, the button closed; then the basal"
        rows.append(("bridge after this fill", told))
    first = program.drugs[0].concentration
    for step, after in zip_longest(program.basal, program.basal[1:]):
        until = after or program.basal[0]
        minutes = (until.start - step.start) % DAY_MINUTES or DAY_MINUTES
        rate = mass_rate_of(step.flow, first)
        mass = mass_of(NanoLitres(step.flow * minutes // DAY_MINUTES), first)
        unit = mass_unit_for(rate)  # one for all three figures, so that none is misread
        rows.append(
            (
                f"basal from {write_minute_of_day(step.start)}",
                f"{write_mass_rate(rate, unit)} = {write_mass_rate_by_hour(rate, unit)}; "
                f"{write_mass(mass, unit)} until {write_minute_of_day(until.start)} "
                f"({write_flow(step.flow)})",
            )
        )
    rows += _bolus_rows(program, first)
    for drug in program.drugs:
        day = basal_mass(program, drug.concentration, DAY_MS)
        worst = worst_case_mass(program, drug.concentration, DAY_MS)
        rows.append((f"{drug.name}: a day's basal", write_mass(day)))
        rows.append((f"{drug.name}: most in any 24 h, boluses included", write_mass(worst)))
    rows.append(("on stop", _POLICY_WORDS[program.stop_policy]))
    return rows


def _bolus_rows(program: PumpProgram, first: NanogramsPerMillilitre) -> list[Row]:
    bolus = program.patient_bolus
    if bolus is None:
        return [("patient's button", "closed")]
    return [
        (
            "patient's button",
            f"{write_mass(mass_of(bolus.volume, first))} over {write_duration(bolus.over)}, "
            f"every {write_duration(bolus.lockout)} at most, {bolus.max_per_24h} in 24 h",
        )
    ]


_POLICY_WORDS = {
    "may-stop": "the flow may stop",
    "hold-basal": "boluses end, the basal goes on",
    "never-stop": "boluses end, the basal goes on; stopping this drug can kill",
}


def _primed(program: PumpProgram) -> str:
    return "holds drug up to its tip" if program.primed else "not primed: drug comes late"


def _utc(moment: Milliseconds) -> str:
    return datetime.fromtimestamp(moment // 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _offset(minutes: int) -> str:
    sign = "-" if minutes < 0 else "+"
    return f"UTC{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def next_clock_change(timezone: str | None, wall: Milliseconds) -> str | None:
    """When the zone's offset changes next within a year, in a sentence; the pump does not move."""
    if timezone is None:
        return None
    zone = ZoneInfo(timezone)
    start = datetime.fromtimestamp(wall // 1_000, UTC)
    offset = start.astimezone(zone).utcoffset()
    for hour in range(1, 366 * 24):
        moment = datetime.fromtimestamp(wall // 1_000 + hour * 3_600, UTC).astimezone(zone)
        if moment.utcoffset() != offset:
            return (
                f"clocks in {timezone} change on {moment:%Y-%m-%d}; the pump keeps its offset "
                "until a new plan is applied"
            )
    return None
