"""What a person sees of a run: the output against its limits, live on a terminal, in lines else."""

import json
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from device_profiles.notation import (
    write_current,
    write_flow,
    write_mass,
    write_mass_rate,
    write_volume,
)
from device_profiles.quantities import (
    DAY_MS,
    Femtograms,
    MicroAmps,
    NanoLitres,
    NanoLitresPerDay,
    charge_per_phase,
    mass_rate_of,
    share_of,
)
from device_profiles.therapy import CASE
from firmware_bridge.controller import Plan
from firmware_bridge.families.scs.controller import StimulatorController
from firmware_bridge.families.table import AnyController
from hil.plan_view import plan_view
from hil.watch import Watched
from safety.alarm_table import kind_of
from safety.alarms import Alarm
from safety.charge import charge_report, microcoulombs
from safety.dose import worst_case_mass
from safety.limits import DOSE_WINDOWS
from safety.schedule import basal_flow_at

ALARM_STYLES = {"HIGH": "bold white on red", "MEDIUM": "bold black on yellow", "LOW": "cyan"}
"""Colours of the priorities [IEC 60601-1-8 as reproduced in Open PCA R6.4.2(2)]."""


class TerminalDisplay:
    """A live table on a terminal; one line a sample where nobody looks; JSON for a program."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._live: Live | None = None
        self._controller: AnyController | None = None
        self._last_line = ""

    def attach(self, controller: AnyController) -> None:
        """The device whose output is shown."""
        self._controller = controller

    def say(self, text: str) -> None:
        """One line."""
        if self._as_json:
            self._print_json({"event": "say", "text": text})
        else:
            self._console.print(Text(text))

    def sound(self, alarm: Alarm) -> None:
        """An alarm, when it is raised."""
        self._sound(alarm, again=False)

    def remind(self, alarm: Alarm) -> None:
        """An alarm that nobody has seen, once more."""
        self._sound(alarm, again=True)

    def _sound(self, alarm: Alarm, *, again: bool) -> None:
        do = kind_of(alarm.code).do
        if self._as_json:
            self._print_json(
                {"event": "alarm", "priority": alarm.priority, "code": alarm.code}
                | {"requirement": alarm.requirement, "text": alarm.text, "do": do, "again": again}
            )
            return
        still = "still " if again else ""
        text = f" {still}{alarm.priority} {alarm.code} ({alarm.requirement}): {alarm.text} "
        self._console.print(Text(text, style=ALARM_STYLES[alarm.priority]))
        self._console.print(Text(f"   {do}"))

    def plan(self, plan: Plan) -> None:
        """The plan, before it is confirmed."""
        if self._as_json:
            self._print_json(
                {"event": "plan", "digest": plan.digest, "verdict": plan.verdict}
                | {"sealed": plan.sealed}
            )
        else:
            self._console.print(plan_view(plan))

    def watched(self, watched: Watched) -> None:
        """One sample with its alarms."""
        controller = self._controller
        if controller is None:
            return
        if self._as_json:
            sample = watched.sample
            self._print_json(
                {"event": "sample", "clock_ms": sample.clock, "state": sample.state}
                | {"sealed": controller.session.sealed}
                | {"values": sample.values, "alarms": [alarm.code for alarm in watched.alarms]}
            )
        elif self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=False)
                self._live.start()
            self._live.update(watched_view(controller, watched), refresh=True)
        else:
            line = one_line(controller, watched)
            if line != self._last_line:
                self._console.print(Text(line))
            self._last_line = line

    def close(self) -> None:
        """Leaves the terminal as it was, the last state visible."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _print_json(self, event: dict[str, Any]) -> None:
        self._console.file.write(json.dumps(event) + "\n")
        self._console.file.flush()


def one_line(controller: AnyController, watched: Watched) -> str:
    """A sample in one line."""
    sample = watched.sample
    if isinstance(controller, StimulatorController):
        flows = ", ".join(write_current(value) for value in _amplitudes(watched)) or "0 mA"
        shown = f"{sample.state}: {flows}"
    else:
        flow = write_flow(NanoLitresPerDay(sample.values["flow_nL_per_day"]))
        total = write_volume(NanoLitres(sample.values["delivered_nL"]))
        shown = f"{sample.state}: {flow}, {total} delivered"
    alarms = "".join(f"  {alarm.priority} {alarm.code}" for alarm in watched.alarms)
    return f"{_who(controller)}  {shown}{alarms}"


def _who(controller: AnyController) -> str:
    """The device, and that nothing proves that it is, where nothing does."""
    serial = controller.identity.serial
    return serial if controller.session.sealed else f"{serial} (UNSEALED)"


def watched_view(controller: AnyController, watched: Watched) -> RenderableType:
    """A sample as a table: what flows, beside each limit it is held against."""
    sample = watched.sample
    title = f"{_who(controller)}  {sample.state}"
    if isinstance(controller, StimulatorController):
        table = _stimulator_table(controller, watched, title)
    else:
        table = _pump_table(controller, watched, title)
    alarms = [
        Text(f" {alarm.priority} {alarm.code}: {alarm.text} ", style=ALARM_STYLES[alarm.priority])
        for alarm in watched.alarms
    ]
    return Group(table, *(alarms or [Text("no alarms", style="green")]))


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "now", "", "limit", "layer"):
        table.add_column(column)
    return table


def _bar(value: int, limit: int) -> ProgressBar:
    style = "red" if value > limit else "green"
    return ProgressBar(total=max(limit, 1), completed=value, width=24, complete_style=style)


def _amplitudes(watched: Watched) -> list[MicroAmps]:
    values = watched.sample.values
    return [MicroAmps(v) for name, v in values.items() if name.endswith("_amplitude_uA")]


def _stimulator_table(controller: StimulatorController, watched: Watched, title: str) -> Table:
    table = _table(title)
    running = controller.state.running
    if running is None:
        table.add_row("output", "off", "", "", "")
        return table
    profile = controller.profile
    for number, (area, current) in enumerate(
        zip(running.program.areas, _amplitudes(watched), strict=False), start=1
    ):
        table.add_row(
            f"{running.program.name}, area {number}",
            write_current(current),
            _bar(current, area.ceiling),
            write_current(area.ceiling),
            "patient",
        )
        shares = [e.share for e in area.electrodes if e.contact != CASE]
        charges = [charge_per_phase(share_of(current, s), area.pulse_width) for s in shares]
        report = charge_report(max(charges), profile.contact_area)
        density = report.density_uC_per_cm2
        table.add_row(
            "largest charge density",
            f"{density} uC/cm2 ({microcoulombs(max(charges))})",
            _bar(int(density * 100), profile.charge.density_soft * 100),
            f"{profile.charge.density_soft} soft, {profile.charge.density_hard} hard",
            "device",
        )
    lease = watched.sample.values["lease_ms"]
    table.add_row("lease", f"{lease} ms", _bar(lease, profile.lease), f"{profile.lease} ms", "")
    return table


def _pump_table(controller: AnyController, watched: Watched, title: str) -> Table:
    table = _table(title)
    values, state = watched.sample.values, controller.state
    flow = NanoLitresPerDay(values["flow_nL_per_day"])
    program, limits = state.pump_program, state.pump_limits
    if program is None or limits is None:
        table.add_row("program", "none that this host has verified", "", "", "")
        return table
    basal = basal_flow_at(program, watched.sample.clock)
    table.add_row("flow", write_flow(flow), _bar(flow, basal), write_flow(basal), "basal now")
    for drug in limits.drugs:
        rate = write_mass_rate(mass_rate_of(flow, drug.concentration))
        day = mass_rate_of(basal, drug.concentration)
        table.add_row(drug.name, rate, "", write_mass_rate(day), "basal now")
        for window in DOSE_WINDOWS:
            limit = drug.of(window.quantity)
            if limit is None:
                continue
            most = worst_case_mass(program, drug.concentration, window.length)
            table.add_row(
                f"  most in any {window.words}",
                write_mass(most),
                _bar(most, limit.value),
                write_mass(Femtograms(limit.value)),
                limit.source,
            )
    reservoir = NanoLitres(values["reservoir_nL"])
    days = max(0, reservoir - program.low_reservoir) * DAY_MS // max(1, basal * DAY_MS)
    table.add_row(
        "reservoir",
        write_volume(reservoir),
        _bar(reservoir, program.fill_volume),
        f"alarm at {write_volume(program.low_reservoir)}",
        f"about {days} days",
    )
    table.add_row("delivered", write_volume(NanoLitres(values["delivered_nL"])), "", "", "")
    return table
