"""`neuraxis check` on any bytes: a therapy is judged whole, or each finding has its line."""

import json
import re
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from device_profiles.document import parse_document
from device_profiles.quantities import Milliseconds
from device_profiles.therapy_file import reading_of
from hil.check import check_file

from .mutators import lines_of, yaml_mutator
from .target import Target, expect

_EXAMPLES = Path(__file__).parents[2] / "examples"
_FOLDER = tempfile.TemporaryDirectory(prefix="neuraxis-fuzz-")
_FILE = Path(_FOLDER.name) / "t.yaml"
_WALL = Milliseconds(1_767_225_600_000)
_COMMENT = re.compile(r"^\s*#.*$|\s+#\s.*$", re.MULTILINE)
WORDS = (
    *("4.2 mA", "0 mA", "25.6 mA", "210 us", "50 Hz", "10 kHz", "3 s", "1 h", "-1 s", "1e3 mA"),
    *("2 mg/mL", "0.5 mg/day", "15 ug", "18 mL", "250 uL", "Europe/Berlin", "2026-01-31T08:00Z"),
    *("active", "passive", "true", "false", "null", "", "[]", "{}", "E1", "case", "E3: -100 %"),
    *("morphine", "baclofen", "unknown", "&a b", "*a", "!!str x", "stimulation", "infusion"),
)


def check(data: bytes) -> None:
    """Never raises; a therapy and a finding of the file exclude each other; all can be shown."""
    _FILE.write_bytes(data)
    checked = check_file(_FILE, None, _WALL)
    reading = checked.reading
    expect((reading.therapy is None) == bool(reading.findings), "a therapy in spite of findings")
    expect(checked.command is None or reading.therapy is not None, "a command without a therapy")
    last = lines_of(data)
    for finding in checked.findings:
        expect(bool(finding.message and finding.rule), "a finding says nothing")
        line = finding.line or 0
        expect(0 <= line <= last + 1, "a finding is at a line that the file does not have")
    expect(bool(checked.findings) or checked.verdict == "accepted", "refused without a finding")
    json.dumps(checked.as_json(), allow_nan=False)
    checked.rendered()
    if reading.therapy is not None and b"\r" not in data:
        other = reading_of(parse_document(str(_FILE), data.replace(b"\n", b"\r\n")))
        expect(other.therapy == reading.therapy, "another end of line makes another therapy")


def seeds() -> Iterator[bytes]:
    """The examples without their comments."""
    for path in sorted(_EXAMPLES.glob("*.yaml")):
        lines = _COMMENT.sub("", path.read_text("utf-8")).split("\n")
        yield "\n".join(line for line in lines if line.strip()).encode() + b"\n"


TARGET = Target(
    name="therapy",
    check=check,
    seeds=seeds,
    mutate=partial(yaml_mutator, words=WORDS, whole=tuple(seeds())),
    tokens=tuple(word.encode() for word in (*WORDS, "  - ", ": ", "\n", "#", "---\n", "<<: ")),
    max_len=8_192,
    seconds=3.0,
    runs=20_000,
    short=50,
    rate=150,
)
