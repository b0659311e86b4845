"""Plots of what was physically delivered, from truth files, against the limits it is held to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import (
    HOUR_MS,
    MicroAmps,
    Microseconds,
    charge_per_phase,
    share_of,
)
from device_profiles.therapy import contact_name
from hil.witness import Cumulative, Line, lines_of, mass_at_tip, read_truth
from safety.charge import charge_report
from safety.limits import DOSE_WINDOWS, DrugLimits, PumpLimits
from safety.outputs import StimulatorProgram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

# Okabe and Ito's colours, which every kind of colour vision tells apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":")
GREY = "#555555"
FG_PER_MG = 1e12
"""Floats are for drawing only: nothing is judged here."""
NOTICE = "research prototype, not a medical device"

# --- series ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContactSeries:
    """A contact over time: ms, signed uA, its share of the patient's ceiling, uC/cm2 a phase.

    Each value holds until the next time; ``ceilings`` are zero where the truth shows a current
    that belongs to none of the programs.
    """

    contact: str
    times: tuple[int, ...]
    currents: tuple[int, ...]
    ceilings: tuple[int, ...]
    densities: tuple[float, ...]


def contact_series(
    lines: Sequence[Line], programs: Sequence[StimulatorProgram], profile: StimulatorProfile
) -> tuple[ContactSeries, ...]:
    """The series of each contact that the programs use, in the order of their first use."""
    used = (e.contact for p in programs for area in p.areas for e in area.electrodes)
    return tuple(
        _one_contact(contact, lines_of(lines, contact_name(contact)), programs, profile)
        for contact in dict.fromkeys(used)
    )


def _one_contact(
    contact: int,
    lines: Sequence[Line],
    programs: Sequence[StimulatorProgram],
    profile: StimulatorProfile,
) -> ContactSeries:
    known = [_ceiling(contact, line, programs) for line in lines]
    charges = (
        charge_per_phase(MicroAmps(line["amplitude_uA"]), Microseconds(line["pulse_width_us"]))
        for line in lines
    )
    return ContactSeries(
        contact_name(contact),
        tuple(line["t_ms"] for line in lines),
        tuple(line["amplitude_uA"] for line in lines),
        _filled(known),
        tuple(charge_report(c, profile.contact_area).density_uC_per_cm2 for c in charges),
    )


def _ceiling(contact: int, line: Line, programs: Sequence[StimulatorProgram]) -> int:
    """The signed ceiling of a contact under the program that a line shows; 0 if none does."""
    ceilings = [
        share_of(area.ceiling, electrode.share)
        for program in programs
        if (program.rate, program.intra_rate) == (line["rate_mHz"], line["intra_rate_mHz"])
        for area in program.areas
        if area.pulse_width == line["pulse_width_us"]
        for electrode in area.electrodes
        if electrode.contact == contact
    ]
    return max(ceilings, key=abs, default=MicroAmps(0))


def _filled(ceilings: Sequence[int]) -> tuple[int, ...]:
    """Between two programs, and before the first, the ceiling of the nearest one holds."""
    filled: list[int] = []
    last = next((ceiling for ceiling in ceilings if ceiling), 0)
    for ceiling in ceilings:
        last = ceiling or last
        filled.append(last)
    return tuple(filled)


@dataclass(frozen=True, slots=True)
class WindowSeries:
    """A drug's mass in the window that ends at each time (ms), in per cent of its limit."""

    label: str
    times: tuple[int, ...]
    percent: tuple[float, ...]


def window_series(mass: Cumulative, drug: DrugLimits) -> tuple[WindowSeries, ...]:
    """The series of each window that has a limit; linear between its times."""
    series = []
    for window in DOSE_WINDOWS:
        limit = drug.of(window.quantity)
        if limit is None or not limit.value:
            continue
        times = tuple(mass.corners(window.length))
        percent = tuple(float(100 * mass.within(t, window.length) / limit.value) for t in times)
        label = f"{window.length // HOUR_MS} h of {limit.value / FG_PER_MG:g} mg"
        series.append(WindowSeries(label, times, percent))
    return tuple(series)


def rate_series(mass: Cumulative) -> tuple[tuple[int, float], ...]:
    """Steps of time (ms) and of the mass rate from there on, mg/h; the last one closes it."""
    points = [
        (start, (high - low) / FG_PER_MG * HOUR_MS / (end - start))
        for (start, low), (end, high) in pairwise(zip(mass.times, mass.amounts, strict=True))
        if end > start
    ]
    return (*points, (mass.times[-1], points[-1][1])) if points else ()


# --- whose device it is ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StimulatorPlot:
    """A stimulator's truth file, and what it is held against."""

    truth: Path
    serial: str
    patient: str
    programs: tuple[StimulatorProgram, ...]
    profile: StimulatorProfile


@dataclass(frozen=True, slots=True)
class PumpPlot:
    """A pump's truth file, and what it is held against."""

    truth: Path
    serial: str
    patient: str
    limits: PumpLimits


def plot_stimulator(plot: StimulatorPlot, png: Path) -> None:
    """The current and the charge density of each contact. Raises UsageError for a bad file."""
    figure = _figure(9, 7)
    _draw_stimulator(figure, plot)
    _save(figure, png)


def plot_pump(plot: PumpPlot, png: Path) -> None:
    """The mass at the tip, its rate, and every window. Raises UsageError for a bad file."""
    figure = _figure(9, 8)
    _draw_pump(figure, plot)
    _save(figure, png)


def plot_both(stimulator: StimulatorPlot, pump: PumpPlot, png: Path) -> None:
    """Both devices side by side. Raises UsageError for a bad file."""
    figure = _figure(17, 8.5)
    halves = figure.subfigures(1, 2, wspace=0.03, squeeze=False)
    _draw_stimulator(halves[0, 0], stimulator)
    _draw_pump(halves[0, 1], pump)
    _save(figure, png)


# --- drawing -----------------------------------------------------------------------------------


def _figure(width: float, height: float) -> "Figure":
    # Slow to import, and needed by nobody who does not plot.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    room = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.06)
    return Figure(figsize=(width, height), dpi=120, layout=room)


def _save(figure: "Figure", png: Path) -> None:
    figure.text(0.998, 0.003, NOTICE, ha="right", va="bottom", fontsize=7, color=GREY)
    figure.savefig(png, format="png")


def _draw_stimulator(figure: "FigureBase", plot: StimulatorPlot) -> None:
    lines = read_truth(plot.truth)
    all_series = contact_series(lines, plot.programs, plot.profile)
    begin, end = _span(lines)
    current, density = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _title(figure, "Stimulator", plot.serial, plot.patient)

    for colour, series in zip(_cycle(len(all_series)), all_series, strict=True):
        seconds = [(t - begin) / 1_000 for t in (begin, *series.times, end)]
        amps = [value / 1_000 for value in (0, *series.currents)]
        held = [value / 1_000 for value in (*series.ceilings[:1], *series.ceilings)]
        flows = [0.0, *series.densities]
        current.step(
            seconds,
            [*amps, *amps[-1:]],
            where="post",
            color=colour,
            linewidth=1.8,
            label=series.contact,
        )
        if held:
            current.step(
                seconds,
                [*held, *held[-1:]],
                where="post",
                color=colour,
                linewidth=1.1,
                linestyle=(0, (5, 4)),
            )
        density.step(seconds, [*flows, flows[-1]], where="post", color=colour, linewidth=1.8)

    current.axhline(0, color=GREY, linewidth=0.6)
    current.margins(y=0.08)
    _panel(current, "current of each contact; dashed: its share of the patient's ceiling")
    current.set_ylabel("first phase, mA")
    _legend(current)
    limits = plot.profile.charge
    _level(density, limits.density_soft, f"soft limit {limits.density_soft}", (1, (2, 2)))
    _level(density, limits.density_hard, f"hard limit {limits.density_hard}", (0, (6, 3)))
    highest = max([limits.density_hard, *(d for one in all_series for d in one.densities)])
    density.set_ylim(0, highest * 1.15)
    _panel(density, "charge density of each contact, against the device's limits")
    density.set_ylabel("uC/cm² a phase")
    density.set_xlabel("time since the first current, s")
    density.set_xlim(0, max(1.0, (end - begin) / 1_000) * 1.02)
    _source(figure, plot.truth, _others(lines, all_series))


def _others(lines: Sequence[Line], shown: Sequence[ContactSeries]) -> str:
    """A word on the contacts that have no line of their own."""
    names = {series.contact for series in shown}
    others = [abs(line["amplitude_uA"]) for line in lines if line["contact"] not in names]
    return f"; all other contacts: at most {max(others) / 1_000:g} mA" if any(others) else ""


def _draw_pump(figure: "FigureBase", plot: PumpPlot) -> None:
    lines = read_truth(plot.truth)
    begin, end = _span(lines)
    total, rate, windows = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 3))
    _title(figure, "Pump", plot.serial, plot.patient)

    def hours(times: Sequence[int]) -> list[float]:
        return [(t - begin) / HOUR_MS for t in times]

    for colour, style, drug in zip(
        _cycle(len(plot.limits.drugs)), LINES, plot.limits.drugs, strict=False
    ):
        mass = mass_at_tip(lines, drug.name)
        milligrams = [amount / FG_PER_MG for amount in mass.amounts]
        total.plot(hours(mass.times), milligrams, color=colour, linewidth=1.8, label=drug.name)
        steps = rate_series(mass)
        rate.step(
            hours([time for time, _ in steps]),
            [value for _, value in steps],
            where="post",
            color=colour,
            linewidth=1.5,
            label=drug.name,
        )
        for shade, series in zip(COLOURS[1:], window_series(mass, drug), strict=False):
            windows.plot(
                hours(series.times),
                series.percent,
                color=shade,
                linestyle=style,
                linewidth=1.8,
                label=series.label,
            )

    _panel(total, "drug that has left the catheter's tip")
    total.set_ylabel("mg")
    _legend(total)
    _panel(rate, "its rate: basal, and boluses on top")
    rate.set_ylabel("mg/h")
    _level(windows, 100, "limit", (0, (6, 3)))
    windows.set_ylim(0, max(115, windows.get_ylim()[1]))
    _panel(windows, "drug in the window that ends now")
    windows.set_ylabel("% of the limit")
    _legend(windows)
    windows.set_xlabel("therapy time since the first flow, h")
    for axes in (total, rate):
        axes.set_ylim(bottom=0)
    windows.set_xlim(0, max(1.0, (end - begin) / HOUR_MS) * 1.02)
    _source(figure, plot.truth)


def _span(lines: Sequence[Line]) -> tuple[int, int]:
    """From the first line to the last, ms."""
    return (lines[0]["t_ms"], lines[-1]["t_ms"]) if lines else (0, 0)


def _cycle(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _title(figure: "FigureBase", what: str, serial: str, patient: str) -> None:
    figure.suptitle(
        f"{what} {serial}, patient {patient}: physically delivered", fontsize=12, fontweight="bold"
    )


def _source(figure: "FigureBase", truth: Path, more: str = "") -> None:
    figure.supxlabel(f"from {truth.name}{more}", x=0.01, ha="left", fontsize=8, color=GREY)


def _panel(axes: "Axes", title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: "Axes") -> None:
    """To the right of the panel's title, above the data."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.99),
        ncols=max(1, len(labels)),
        frameon=False,
        fontsize=9,
        borderaxespad=0.1,
        handlelength=1.6,
        columnspacing=1.2,
    )


def _level(axes: "Axes", value: float, text: str, style: tuple[int, tuple[int, int]]) -> None:
    axes.axhline(value, color=GREY, linewidth=1.1, linestyle=style)
    axes.text(
        0.995,
        value,
        text,
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=GREY,
    )
