"""The example therapy files, which every measurement takes its programs from."""

from pathlib import Path

_FOLDER = Path(__file__).parent.parent / "examples"
STIMULATION = _FOLDER / "stimulation.yaml"
INFUSION = _FOLDER / "infusion.yaml"
