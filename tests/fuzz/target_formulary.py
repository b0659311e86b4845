"""The readers of facts: a formulary or a profile is whole, or refused with a place and a reason."""

from collections.abc import Iterator
from functools import partial
from importlib.resources import files

from device_profiles.data_file import DataFileError
from device_profiles.document import parse_document
from device_profiles.formulary_file import formulary_of
from device_profiles.profile_file import profile_names, read_profile

from .mutators import lines_of, yaml_mutator
from .target import Target, expect

_DATA = files("device_profiles").joinpath("data")
WORDS = (
    *("1 mg/day", "0.5 mg", "-1 mg", "1e9 mg/mL", "10 ug/mL", "0 d", "180 days", "20 %", "1000 %"),
    *("", "[]", "{}", "[a, b]", "{value: 1 mg, source: a b}", "&a x", "*a", "!!int 5", "|", "yes"),
    *("null", "morphine", "opioid", "may-stop", "never-stop", "opioid-naive", "0x10", "1_000 mg"),
)


def check(data: bytes) -> None:
    """What is accepted is in order; what is refused has findings at lines of the file."""
    document = parse_document("f.yaml", data)
    for finding in document.findings:
        expect((finding.line or 0) >= 1, "a finding has no line")
        expect(
            (finding.line or 0) <= lines_of(data) + 1,
            "a finding is at a line that the file does not have",
        )
    try:
        if data.startswith(b"profile:"):
            expect(read_profile(document).name != "", "a profile has no name")
            return
        formulary = formulary_of(document)
    except DataFileError as error:
        expect(bool(error.findings), "a file was refused without a finding")
        expect(all(one.message and one.rule for one in error.findings), "a finding says nothing")
        expect("f.yaml" in str(error), "a refusal does not name its file")
        return
    names = [entry.name for entry in formulary.entries]
    expect(bool(names) and len(set(names)) == len(names), "a drug is there twice, or none")
    for entry in formulary.entries:
        expect(
            0 <= entry.concentration_above < entry.concentration_max, "no concentration is allowed"
        )
        soft, hard = entry.per_day_soft, entry.per_day_hard
        expect(soft is None or hard is None or 0 < soft <= hard, "a soft limit is above the hard")
        expect(hard is None or hard > 0, "a limit is not positive")


def seeds() -> Iterator[bytes]:
    """The shipped files: each drug alone with all that belongs to it, and the profiles."""
    text = _DATA.joinpath("formulary.yaml").read_text("utf-8")
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    head, *drugs = "\n".join(lines).split("\n  - name: ")
    for drug in drugs:
        yield f"{head}\n  - name: {drug}\n".encode()
    for name in profile_names():
        shown = _DATA.joinpath(f"{name}.yaml").read_text("utf-8").split("\n")
        kept = "\n".join(line for line in shown if not line.lstrip().startswith("#"))
        yield kept.lstrip().encode()


TARGET = Target(
    name="formulary",
    check=check,
    seeds=seeds,
    mutate=partial(yaml_mutator, words=WORDS, whole=tuple(seeds())),
    tokens=tuple(word.encode() for word in (*WORDS, "  - ", ": ", "\n", "#", "---\n", "<<: ")),
    max_len=8_192,
    seconds=3.0,
    runs=15_000,
    short=50,
    rate=130,
)
