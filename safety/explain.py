"""Why a request was refused or granted: what filled its windows when it was judged."""

from device_profiles.quantities import NanoLitres, mass_of
from safety.events import Intended, Rejected
from safety.limits import PumpLimits
from safety.outputs import BolusOutput, PrimeOutput, PumpProgram
from safety.rules_windows import window_accounts
from safety.state import State, programs_in_window, reservations_at
from safety.window_account import WindowAccount


def windows_of(state: State, entry: Intended | Rejected) -> list[WindowAccount]:
    """The windows around what was asked for, by the state before it; none where none count."""
    known, asked = programs_in_window(state, entry.at), NanoLitres(0)
    limits: PumpLimits | None
    match entry.outputs:
        case (BolusOutput() as bolus,):
            limits, asked = state.pump_limits, bolus.volume
        case (PrimeOutput(),) if isinstance(entry, Intended):
            limits, asked = state.pump_limits, entry.stray
        case (PumpProgram() as program,):
            limits, known = entry.limits, (program, *known)
        case _:
            limits = None
    held = reservations_at(state, entry.at)
    return [
        account
        for drug in (limits.drugs if limits else ())
        for account in window_accounts(
            known,
            drug,
            mass_of(asked, drug.concentration),
            held,
            entry.at,
        )
    ]
