"""The example therapy files, which the measurements take their programs from."""

from pathlib import Path

from device_profiles.quantities import Milliseconds

_FOLDER = Path(__file__).parent.parent / "examples"
STIMULATION = _FOLDER / "stimulation.yaml"
INFUSION = _FOLDER / "infusion.yaml"

WALL_MS = Milliseconds(1_793_703_600_000)
"""2026-11-03T11:00:00Z: a day after the pump was filled."""
