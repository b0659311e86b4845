"""Planted bugs of what a window holds: its edge, the basal, the button, the programs around it."""

from dataclasses import replace
from math import floor
from typing import Any

from device_profiles.quantities import DAY_MS, Femtograms, Milliseconds, NanoLitresPerDay
from safety import dose, judgement, rules_windows, state
from safety.commands import Instant
from safety.doubt import Reservation
from safety.limits import DOSE_WINDOWS
from safety.outputs import PatientBolusOutput, PumpProgram
from safety.state import State

from .planting import CHANGING, DIFFERENTIAL, WITHOUT_DOUBT, Bug, nothing, put, together
from .quicken import SetAttr

ONE_NL = 1_000_000
"""fg in a nanolitre of morphine at 1 mg/mL."""

_worst_case_over = dose.worst_case_over
_judge_windows = rules_windows._judge_windows


def open_edge(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end > now.slow - window


def fixed_hours(self: Reservation, window: int, now: Instant) -> bool:
    return self.latest_end // window >= now.slow // window


def calendar_days(self: Reservation, window: int, now: Instant) -> bool:
    if window < DAY_MS:
        return self.latest_end >= now.slow - window
    return self.latest_end // DAY_MS >= now.slow // DAY_MS


def without_basal(programs: Any, window: Milliseconds) -> Femtograms:
    return _worst_case_over(tuple((_idle(one), strength) for one, strength in programs), window)


def _idle(program: PumpProgram) -> PumpProgram:
    steps = (replace(step, flow=NanoLitresPerDay(0)) for step in program.basal)
    return replace(program, basal=tuple(steps))


def without_buttons(programs: Any, window: Milliseconds) -> Femtograms:
    bare = ((replace(one, patient_bolus=None), strength) for one, strength in programs)
    return _worst_case_over(tuple(bare), window)


def buttons_twice(programs: Any, window: Milliseconds) -> Femtograms:
    once = _worst_case_over(programs, window)
    return Femtograms(2 * once - without_buttons(programs, window))


def mean_basal(programs: Any, window: Milliseconds) -> Femtograms:
    day = without_buttons(programs, DAY_MS)
    return Femtograms(day * window // DAY_MS + without_basal(programs, window))


def largest_alone(programs: Any, window: Milliseconds) -> Femtograms:
    return max(_worst_case_over((one,), window) for one in programs)


def newest_button(programs: Any, window: Milliseconds) -> Femtograms:
    first, *rest = programs
    bare = ((replace(one, patient_bolus=None), strength) for one, strength in rest)
    return _worst_case_over((first, *bare), window)


def largest_rate(basal: Any, window: Milliseconds) -> int:
    return int(max(step.flow for step in basal) * window)


def lockout_alone(bolus: PatientBolusOutput, window: Milliseconds) -> Milliseconds:
    count, rest = divmod(window, bolus.lockout)
    return Milliseconds(count * bolus.over + min(rest, bolus.over))


def open_pca(set_attribute: SetAttr) -> None:
    """What the window that ends now holds of the basal, and no more."""

    def judged(programs: Any, drug: Any, asked: Any, held: Any, now: Instant, path: str) -> Any:
        def so_far(programs: Any, window: Milliseconds) -> Femtograms:
            return _worst_case_over(programs, Milliseconds(max(1, min(window, now.slow))))

        set_attribute(rules_windows, "worst_case_over", so_far)
        return _judge_windows(programs, drug, asked, held, now, path)

    set_attribute(rules_windows, "_judge_windows", judged)


def stale_total(set_attribute: SetAttr) -> None:
    """What a window holds of the basal is worked out once for a drug and its limits."""
    kept: dict[Any, Femtograms] = {}

    def judged(programs: Any, drug: Any, *rest: Any) -> Any:
        def cached(programs: Any, window: Milliseconds) -> Femtograms:
            return kept.setdefault((drug, window), _worst_case_over(programs, window))

        set_attribute(rules_windows, "worst_case_over", cached)
        return _judge_windows(programs, drug, *rest)

    set_attribute(rules_windows, "_judge_windows", judged)


def first_drug_only(programs: Any, drug: Any, *rest: Any) -> Any:
    return _judge_windows(programs, drug, *rest) if drug.name == "morphine" else []


def one_nanolitre_more(programs: Any, drug: Any, asked: int, *rest: Any) -> Any:
    less = Femtograms(max(0, asked - ONE_NL))
    return _judge_windows(programs, drug, less, *rest)


def in_floats(set_attribute: SetAttr) -> None:
    """Masses are compared as milligrams in floating point, to a thousandth."""

    def judged(programs: Any, drug: Any, *rest: Any) -> Any:
        def blurred(limit: Any) -> Any:
            return limit and replace(limit, value=round(round(limit.value / 1e9, 3) * 1e9))

        def rough(programs: Any, window: Milliseconds) -> Femtograms:
            return Femtograms(round(round(_worst_case_over(programs, window) / 1e9, 3) * 1e9))

        set_attribute(rules_windows, "worst_case_over", rough)
        names = ("per_hour", "per_4_hours", "per_day")
        rounded = replace(drug, **{name: blurred(getattr(drug, name)) for name in names})
        return _judge_windows(programs, rounded, *rest)

    set_attribute(rules_windows, "_judge_windows", judged)


def only_the_current(now_state: State, now: Instant) -> tuple[PumpProgram, ...]:
    return () if now_state.pump_program is None else (now_state.pump_program,)


def without_pending(now_state: State, now: Instant) -> tuple[PumpProgram, ...]:
    return state.programs_in_window(replace(now_state, unsettled=()), now)


WINDOW_BUGS = (
    Bug("the window's edge is open: > for >=", put(Reservation, "reaches_into", open_edge)),
    Bug("fixed hours for sliding windows", put(Reservation, "reaches_into", fixed_hours)),
    Bug("calendar days for the last 24 h", put(Reservation, "reaches_into", calendar_days)),
    Bug("the basal is forgotten", put(rules_windows, "worst_case_over", without_basal)),
    Bug("the window holds only the basal that has flowed (Open PCA)", open_pca),
    Bug(
        "the mean basal for its largest integral",
        put(rules_windows, "worst_case_over", mean_basal),
        DIFFERENTIAL,
    ),
    Bug(
        "the largest rate for the largest integral",
        put(dose, "largest_basal", largest_rate),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses are forgotten",
        put(rules_windows, "worst_case_over", without_buttons),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses are counted twice",
        put(rules_windows, "worst_case_over", buttons_twice),
        DIFFERENTIAL,
    ),
    Bug(
        "the patient's boluses by the lockout alone",
        put(dose, "bolus_time", lockout_alone),
        DIFFERENTIAL,
    ),
    Bug(
        "a new button replaces the presses of the one before",
        put(rules_windows, "worst_case_over", newest_button),
        DIFFERENTIAL,
    ),
    Bug("a total is worked out once and kept", stale_total),
    Bug(
        "only the hour is judged",
        put(rules_windows, "DOSE_WINDOWS", DOSE_WINDOWS[:1]),
    ),
    Bug("only the day is judged", put(rules_windows, "DOSE_WINDOWS", DOSE_WINDOWS[2:])),
    Bug(
        "only the first drug is judged",
        put(rules_windows, "_judge_windows", first_drug_only),
        DIFFERENTIAL,
    ),
    Bug(
        "the limit is off by one nanolitre",
        put(rules_windows, "_judge_windows", one_nanolitre_more),
    ),
    Bug("masses are compared in floating point", in_floats, DIFFERENTIAL),
    Bug("the worst case is rounded down", put(dose, "ceil", floor), DIFFERENTIAL),
    Bug(
        "a replaced program is forgotten",
        put(judgement, "programs_in_window", only_the_current),
        world=CHANGING,
    ),
    Bug(
        "a program on its way is forgotten (SR-23 taken out)",
        together(WITHOUT_DOUBT, put(judgement, "programs_in_window", without_pending)),
    ),
    Bug(
        "the largest of the programs, not their envelope",
        put(rules_windows, "worst_case_over", largest_alone),
        DIFFERENTIAL,
    ),
    Bug("a change of the basal sees no bolus", put(judgement, "judge_pump_windows", nothing)),
)
