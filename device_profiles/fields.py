"""Field types of the files people write: each reads one text, and says so in the schema.

Models see dicts, lists and strings only; every scalar reaches its field as the text in the file.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from device_profiles import notation
from device_profiles.notation import Notation, NotationError
from device_profiles.notation_grammar import shown
from device_profiles.quantities import (
    Femtograms,
    FemtogramsPerDay,
    MicroAmps,
    Microseconds,
    MilliHertz,
    Milliseconds,
    MinuteOfDay,
    NanogramsPerMillilitre,
    NanoLitres,
    Percent,
)
from device_profiles.therapy import History, Recharge, Waveform

PLACED = "placed"
"""The type of every error these fields raise; its context holds rule, message and hint."""

Value = TypeVar("Value", bound=int)


def refusal(rule: str, message: str, hint: str | None = None) -> PydanticCustomError:
    """An error of a field as `placed_models.validate` understands it."""
    return PydanticCustomError(
        PLACED, "{message}", {"rule": rule, "message": message, "hint": hint}
    )


@dataclass(frozen=True, eq=False)
class Written:
    """A field whose text is read by ``parse``, which raises `NotationError`.

    Compared by identity: a type's annotations are hashed, and a schema is a dict.
    """

    parse: Callable[[str], object]
    what: str
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema)

    def _read(self, raw: object) -> object:
        if not isinstance(raw, str):
            kind = "a list" if isinstance(raw, list) else "a mapping"
            raise refusal("FILE-07", f"{self.what} is expected here, not {kind}")
        try:
            return self.parse(raw)
        except NotationError as error:
            raise refusal(error.rule, error.message, error.hint) from None


def quantity(parse: Callable[[str], object], kind: Notation) -> Written:
    """A field of one row of the table of units."""
    schema = {
        "type": "string",
        "pattern": f"^{kind.pattern}$",
        "examples": [kind.example],
        "description": f"{kind.what}: a number, one space, and one of {', '.join(kind.units)}",
    }
    return Written(parse, kind.what, schema)


def words(literal: object) -> Written:
    """A field that takes one word of a closed list, a ``Literal``."""
    allowed: tuple[str, ...] = get_args(literal)

    def parse(text: str) -> str:
        if text not in allowed:
            raise NotationError(
                "FILE-07",
                f"{shown(text)} is no word this key takes" if text else "a word is missing here",
                f"write {' or '.join(allowed)}",
            )
        return text

    return Written(parse, "a word", {"type": "string", "enum": list(allowed)})


def name(what: str, pattern: str, explanation: str, longest: int = 32) -> Written:
    """A field that takes a short name of a fixed shape."""
    shape = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if len(text) > longest or not shape.fullmatch(text):
            raise NotationError(
                "FILE-07",
                f"{shown(text)} is not {what}" if text else f"{what} is missing here",
                explanation,
            )
        return text

    schema = {
        "type": "string",
        "pattern": f"^{pattern}$",
        "maxLength": longest,
        "description": explanation,
    }
    return Written(parse, what, schema)


def above_zero(parse: Callable[[str], Value], rule: str, message: str) -> Callable[[str], Value]:
    """A parser that refuses zero under a rule, since what is judged later divides by it."""

    def parse_above_zero(text: str) -> Value:
        value = parse(text)
        if value == 0:
            raise NotationError(rule, message, "write a value above zero, or take the key out")
        return value

    return parse_above_zero


# --- parsers of texts that are no quantities --------------------------------------------------

_INSTANT_PATTERN = (
    "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?"
    "(?:Z|[+\\-](?:0[0-9]|1[0-4]):[0-5][0-9])"
)
_INSTANT = re.compile(_INSTANT_PATTERN, re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str) -> Milliseconds:
    """A date and time with its offset, such as ``2026-11-02T09:30+01:00``, to Unix ms."""
    hint = "write year-month-day, T, hour:minute, then Z or an offset such as +01:00"
    if not _INSTANT.fullmatch(text):
        raise NotationError("FILE-07", f"{shown(text)} is no date and time with an offset", hint)
    try:
        elapsed = datetime.fromisoformat(text) - _EPOCH
    except (ValueError, OverflowError):
        raise NotationError("FILE-07", f"{shown(text)} is no day of the calendar", hint) from None
    return Milliseconds(elapsed // timedelta(milliseconds=1))


@cache
def time_zone_names() -> frozenset[str]:
    """The IANA names, from the tzdata package, so that every machine knows the same ones."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def parse_time_zone(text: str) -> str:
    """An IANA time zone name such as ``Europe/Berlin``."""
    if text not in time_zone_names():
        raise NotationError(
            "FILE-08",
            f"{shown(text)} is no time zone of the IANA list",
            "write a name such as Europe/Berlin, with its capital letters",
        )
    return text


def parse_truth(text: str) -> bool:
    """Exactly ``true`` or ``false``."""
    if text not in ("true", "false"):
        message = f"{shown(text)} is neither true nor false"
        raise NotationError("FILE-07", message, "write true or false")
    return text == "true"


def parse_patient(text: str) -> str:
    """A patient's code: it must not be possible to mistake it for a name, or a name for it."""
    shape = re.compile(_PATIENT_PATTERN, re.ASCII)
    if len(text) > 32 or not shape.fullmatch(text) or not any(c.isdigit() for c in text):
        raise NotationError(
            "FILE-07",
            f"{shown(text)} is no patient code; a file holds a code, never a name",
            "write capital letters and digits in groups joined by -, with at least one digit",
        )
    return text


_PATIENT_PATTERN = "[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)+"

# --- the types ------------------------------------------------------------------------------

Current = Annotated[MicroAmps, quantity(notation.parse_current, notation.CURRENT)]
Width = Annotated[Microseconds, quantity(notation.parse_width, notation.WIDTH)]
Duration = Annotated[Milliseconds, quantity(notation.parse_duration, notation.DURATION)]
BolusDuration = Annotated[
    Milliseconds,
    quantity(
        above_zero(
            notation.parse_duration, "SR-16", "a bolus takes time; over zero it has no flow"
        ),
        notation.DURATION,
    ),
]
CycleDuration = Annotated[
    Milliseconds,
    quantity(
        above_zero(notation.parse_duration, "SR-48", "a cycle has both times, or is left out"),
        notation.DURATION,
    ),
]
Rate = Annotated[
    MilliHertz,
    quantity(above_zero(notation.parse_frequency, "SR-49", "zero is no rate"), notation.FREQUENCY),
]
IntraRate = Annotated[
    MilliHertz,
    quantity(
        above_zero(notation.parse_frequency, "SR-48", "a rate of zero never ends a burst"),
        notation.FREQUENCY,
    ),
]
Volume = Annotated[NanoLitres, quantity(notation.parse_volume, notation.VOLUME)]
Mass = Annotated[Femtograms, quantity(notation.parse_mass, notation.MASS)]
MassRate = Annotated[FemtogramsPerDay, quantity(notation.parse_mass_rate, notation.MASS_RATE)]
Concentration = Annotated[
    NanogramsPerMillilitre,
    quantity(
        above_zero(notation.parse_concentration, "SR-08", "a concentration of zero holds no drug"),
        notation.CONCENTRATION,
    ),
]
Share = Annotated[
    Percent,
    Written(
        notation.parse_share,
        "a share",
        {
            "type": "string",
            "pattern": f"^{notation.SHARE_PATTERN}$",
            "examples": ["-100 %", "+60 %"],
            "description": "signed whole per cent of the area's current; the sign of phase one",
        },
    ),
]
Count = Annotated[int, Written(notation.parse_count, "a count", {"type": "integer", "minimum": 0})]
TimeOfDay = Annotated[
    MinuteOfDay,
    Written(
        notation.parse_minute_of_day,
        "a time of the day",
        {
            "type": "string",
            "pattern": f"^{notation.MINUTE_OF_DAY_PATTERN}$",
            "examples": ["07:00"],
        },
    ),
]
Instant = Annotated[
    Milliseconds,
    Written(
        parse_instant,
        "a date and time",
        {
            "type": "string",
            "pattern": f"^{_INSTANT_PATTERN}$",
            "examples": ["2026-11-02T09:30+01:00"],
        },
    ),
]
TimeZone = Annotated[
    str,
    Written(
        parse_time_zone, "a time zone", {"type": "string", "examples": ["Europe/Berlin", "UTC"]}
    ),
]
Truth = Annotated[bool, Written(parse_truth, "true or false", {"type": "boolean"})]
PatientCode = Annotated[
    str,
    Written(
        parse_patient,
        "a patient code",
        {
            "type": "string",
            "pattern": f"^(?=.*[0-9]){_PATIENT_PATTERN}$",
            "maxLength": 32,
            "examples": ["BENCH-007"],
            "description": "a code, never a name",
        },
    ),
]
_LOWER_NAME = "[a-z0-9][a-z0-9-]*"
ProgramName = Annotated[
    str,
    name("a program name", _LOWER_NAME, "small letters, digits and -, at most 32 of them"),
]
DrugName = Annotated[
    str,
    name("a drug name", "[a-z][a-z0-9-]*", "the name as the formulary writes it, such as morphine"),
]
DeviceName = Annotated[
    str, name("a device name", _LOWER_NAME, "the name of a device profile, such as scs-16")
]
WaveformWord = Annotated[Waveform, words(Waveform)]
RechargeWord = Annotated[Recharge, words(Recharge)]
HistoryWord = Annotated[History, words(History)]
