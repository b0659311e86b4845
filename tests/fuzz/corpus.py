"""The corpus in the repository: small inputs, a folder for each target, named by their hash.

`corpus/NAME/` is what the fuzzer has found worth keeping; `regressions/NAME/` are inputs that once
showed a finding, kept as they are.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from .target import HERE, Target, on_mark

CORPUS = HERE / "corpus"
REGRESSIONS = HERE / "regressions"
UNDER_TEST = ("/device_profiles/", "/safety/", "/firmware_bridge/", "/hil/")
_DIGITS = re.compile("[0-9]+")
MOST_BYTES = 16_000
"""Of one target's corpus: all of them stay below 200 KB."""

MOST_INPUTS = 48
"""Of one target: what says little more is found again within seconds."""


def kept(name: str) -> list[bytes]:
    """The corpus of a target and its regressions, in the order of their names."""
    return [path.read_bytes() for path in (*_files(CORPUS / name), *_files(REGRESSIONS / name))]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def seeds_and_kept(target: Target) -> list[bytes]:
    """What a run begins with."""
    return list(dict.fromkeys((*target.seeds(), *kept(target.name))))


def minimise(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """The fewest inputs, small ones first, that pass every line that all of them pass.

    Those that the seeds pass already need no file. Lines of loaded code alone count, so the
    target's seeds are run first.
    """
    seen = set[tuple[str, int]]()
    for seed in target.seeds():
        seen |= _lines(target, seed)
    chosen: list[bytes] = []
    size = 0
    for data in sorted(set(inputs), key=lambda one: (len(one), one)):
        new = _lines(target, data) - seen
        if new and size + len(data) <= MOST_BYTES and len(chosen) < MOST_INPUTS:
            seen |= new
            size += len(data)
            chosen.append(data)
    return chosen


def write(name: str, inputs: Iterable[bytes]) -> int:
    """Makes these the corpus of a target; the number of bytes."""
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in _files(folder):
        path.unlink()
    size = 0
    for data in inputs:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        size += len(data)
    return size


_marked = set[tuple[str, int]]()
on_mark(lambda place: _marked.add((_DIGITS.sub("0", place), 0)))


def _lines(target: Target, data: bytes) -> set[tuple[str, int]]:
    """The lines of the code under test that an input passes, and its marks."""
    passed = set[tuple[str, int]]()
    _marked.clear()

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            passed.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def begin(frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        return local if any(part in file for part in UNDER_TEST) and "/tests/" not in file else None

    before = sys.gettrace()
    sys.settrace(begin)
    try:
        with suppress(Exception):
            target.check(data)
    finally:
        sys.settrace(before)
    return passed | _marked
