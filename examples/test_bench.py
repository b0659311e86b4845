"""Two bench tests. Run: `python -m pytest examples/test_bench.py`, on a device: `--device URL`."""

import pytest

from device_profiles.errors import Refused
from hil.bench import Pump, Stimulator, Truth


def test_walking_never_exceeds_the_patients_ceiling(stimulator: Stimulator, truth: Truth) -> None:
    stimulator.apply("examples/stimulation.yaml")
    stimulator.start()
    with pytest.raises(Refused, match="ceiling"):
        stimulator.amplitude("6.1 mA")
    stimulator.wait("2 min")
    assert truth.peak("E3") <= "6 mA"


def test_a_bolus_that_finds_its_hour_full_is_refused(pump: Pump, truth: Truth) -> None:
    pump.apply("examples/infusion.yaml")
    pump.bolus("0.1 mg", over="5 min")
    pump.wait("6 min")
    with pytest.raises(Refused, match="hour"):
        pump.bolus("0.1 mg", over="5 min")
    pump.wait("24 h")
    assert truth.most_in("1 h", "morphine") <= "0.4 mg"
