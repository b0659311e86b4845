"""Why a request was refused, or why it was granted: its findings, and what filled its windows."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from device_profiles.diagnostics import Finding
from device_profiles.notation import MassUnit, mass_unit_for, write_mass
from device_profiles.quantities import Femtograms, Milliseconds
from hil.check import finding_as_json
from hil.journal_view import WAY_OUT, Told, story, what_was_asked, write_time
from safety.doubt import Reservation
from safety.events import Event, Intended, Outcome, Rejected, Settled
from safety.explain import windows_of
from safety.journal import Chain, JournalError
from safety.window_account import WindowAccount, least_of, write_wait


@dataclass(frozen=True, slots=True)
class Why:
    """One request with everything that decided on it."""

    told: Told
    entry: Intended | Rejected
    outcome: Outcome
    evidence: str
    asked: str
    windows: tuple[WindowAccount, ...]
    walls: dict[int, Milliseconds]
    """When each earlier command was intended, by the host's wall clock."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What stood against it."""
        return self.entry.findings if isinstance(self.entry, Rejected) else ()

    @property
    def earlier(self) -> tuple[Reservation, ...]:
        """The earlier doses of any of its windows, in their order."""
        held = (one for window in self.windows for one in window.held)
        return tuple(sorted(dict.fromkeys(held), key=lambda one: (one.begun, one.id)))


def why(events: Sequence[Event], intent_id: int) -> Why | None:
    """What decided on the request of an id; ``None`` if there is none in these entries."""
    told: Told | None = None
    settled: Settled | None = None
    walls: dict[int, Milliseconds] = {}
    for one in story(events):
        if isinstance(one.event, Intended):
            walls.setdefault(one.event.id, one.event.at.wall)
        if one.id == intent_id and isinstance(one.event, Intended | Rejected) and told is None:
            told = one
        if one.id == intent_id and isinstance(one.event, Settled):
            settled = one.event
    if told is None:
        return None
    entry = told.event
    assert isinstance(entry, Intended | Rejected)
    outcome, evidence = _outcome(entry, settled)
    return Why(
        told,
        entry,
        outcome,
        evidence,
        what_was_asked(entry, told.before),
        tuple(windows_of(told.before, entry)),
        walls,
    )


def last_refusal(chains: Iterable[Chain]) -> int | None:
    """The id of the newest refusal in any of some journals, by the wall clock."""
    refusals = [refusal for chain in chains if (refusal := _last_refusal_in(chain)) is not None]
    newest = max(refusals, key=lambda one: one.at.wall, default=None)
    return None if newest is None else newest.id


def _last_refusal_in(chain: Chain) -> Rejected | None:
    numbers = range(chain.count, 0, -1)
    last = next((number for number in numbers if chain.is_kind(number, "rejected")), 0)
    with suppress(JournalError):  # of another version
        event = chain.event(last) if last else None
        return event if isinstance(event, Rejected) else None
    return None


def _outcome(entry: Intended | Rejected, settled: Settled | None) -> tuple[Outcome, str]:
    if isinstance(entry, Rejected):
        return "refused", "the judge refused it; nothing was sent"
    if settled is None:
        return "UNCERTAIN", "nothing is recorded of what became of it"
    return settled.outcome, settled.evidence


# --- for people ----------------------------------------------------------------------------------


def why_view(found: Why) -> RenderableType:
    """Everything about the request, as a person reads it."""
    parts: list[RenderableType] = [Text(line) for line in _head(found)]
    for finding in found.findings:
        parts += [Text(line) for line in _finding(finding)]
    if found.windows:
        parts += [Text(""), _windows(found)]
    if found.earlier:
        parts += [Text(""), _earlier(found)]
    return Group(*parts)


def _head(found: Why) -> Iterable[str]:
    entry = found.entry
    yield f"{entry.id:#x} {found.outcome}: {found.asked}"
    yield f"  entry {found.told.number}, {write_time(entry.at.wall)} UTC: {found.evidence}"
    if found.outcome in WAY_OUT:
        yield f"  {WAY_OUT[found.outcome]}"
    if isinstance(entry, Intended):
        passed = ", ".join(entry.passed)
        yield f"  granted: no rule stood against it{f' but {passed}, passed' if passed else ''}"
    if entry.override is not None:
        users = " and ".join(filter(None, (entry.override.user, entry.override.second)))
        rules = ", ".join(entry.override.rules) or "no rule"
        yield f"  asked with an override of {rules} by {users}: {entry.override.reason}"


def _finding(finding: Finding) -> Iterable[str]:
    yield f"  {finding.rule} {finding.severity}: {finding.message}"
    if finding.value or finding.limit:
        value, limit = finding.value or "-", finding.limit or "none"
        yield f"    value {value}, limit {limit} ({finding.source})"
    if finding.hint:
        yield f"    hint: {finding.hint}"


def _windows(found: Why) -> Table:
    table = Table(title="windows, each at its worst", title_justify="left")
    table.add_column("drug and window")
    for heading in ("basal and button", "earlier doses", "asked for", "together", "limit"):
        table.add_column(heading, justify="right")
    table.add_column("room")
    for one in found.windows:
        unit = _unit(one)
        table.add_row(
            f"{one.drug}, {one.window.words}",
            write_mass(one.standing, unit),
            write_mass(one.earlier, unit),
            write_mass(one.asked, unit),
            write_mass(one.total, unit),
            f"{write_mass(Femtograms(one.limit.value), unit)} ({one.limit.source})",
            _room(one, found.entry.at.slow),
            style="bold" if one.is_over else "",
        )
    return table


def _unit(one: WindowAccount) -> MassUnit:
    """One unit for a line: milligrams beside micrograms are misread (accident A7)."""
    return mass_unit_for(min(Femtograms(one.limit.value), one.asked or one.total))


def _room(one: WindowAccount, now: Milliseconds) -> str:
    if not one.is_over:
        return f"{write_mass(Femtograms(one.limit.value - one.total), _unit(one))} left"
    room_at = one.room_at()
    if room_at is None:
        return "none by waiting"
    return f"in {write_wait(Milliseconds(room_at - now))}"


def _earlier(found: Why) -> Table:
    table = Table(title="earlier doses in these windows", title_justify="left")
    for heading in ("id", "what", "intended (UTC)", "before this"):
        table.add_column(heading)
    table.add_column("least to most", justify="right")
    table.add_column("leaves the window of")
    now = found.entry.at.slow
    for one in found.earlier:
        table.add_row(
            f"{one.id:#x}",
            one.what,
            write_time(found.walls[one.id]) if one.id in found.walls else "not in this journal",
            write_wait(Milliseconds(now - one.begun)),
            "; ".join(_interval(one, drug.name) for drug in one.drugs),
            ", ".join(_leaving(found, one, now)),
        )
    return table


def _interval(one: Reservation, drug: str) -> str:
    most = one.most_of(drug)
    unit = mass_unit_for(most)
    return f"{write_mass(least_of(one, drug), unit)} to {write_mass(most, unit)} {drug}"


def _leaving(found: Why, one: Reservation, now: Milliseconds) -> Iterable[str]:
    told = {
        account.window.words: account.leaves(one)
        for account in found.windows
        if one in account.held
    }
    for words, leaves in told.items():
        yield f"{words} in {write_wait(Milliseconds(leaves - now))}"


# --- for programs --------------------------------------------------------------------------------


def why_as_json(found: Why) -> dict[str, Any]:
    """The same for programs; masses in fg, times in ms of therapy time."""
    entry = found.entry
    now = entry.at.slow
    return {
        "id": entry.id,
        "entry": found.told.number,
        "wall_ms": entry.at.wall,
        "decision": "refused" if isinstance(entry, Rejected) else "granted",
        "outcome": found.outcome,
        "evidence": found.evidence,
        "way_out": WAY_OUT.get(found.outcome),
        "command": entry.command,
        "asked": found.asked,
        "passed": list(entry.passed) if isinstance(entry, Intended) else [],
        "findings": [finding_as_json(finding) for finding in found.findings],
        "windows": [_window_as_json(one, now) for one in found.windows],
        "earlier": [_dose_as_json(found, one, now) for one in found.earlier],
    }


def _window_as_json(one: WindowAccount, now: Milliseconds) -> dict[str, Any]:
    room_at = one.room_at() if one.is_over else now
    return {
        "drug": one.drug,
        "window_ms": one.window.length,
        "basal_and_button_fg": one.standing,
        "earlier_fg": one.earlier,
        "asked_fg": one.asked,
        "together_fg": one.total,
        "limit_fg": one.limit.value,
        "source": one.limit.source,
        "room_in_ms": None if room_at is None else room_at - now,
    }


def _dose_as_json(found: Why, one: Reservation, now: Milliseconds) -> dict[str, Any]:
    return {
        "id": one.id,
        "what": one.what,
        "wall_ms": found.walls.get(one.id),
        "before_ms": now - one.begun,
        "drugs": [
            {
                "drug": drug.name,
                "least_fg": least_of(one, drug.name),
                "most_fg": one.most_of(drug.name),
            }
            for drug in one.drugs
        ],
    }
