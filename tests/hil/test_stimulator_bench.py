"""What a bench test can ask of a stimulator beyond a start: a start from zero, a closed loop."""

from pathlib import Path

import pytest
from cli_bench import STIMULATION, cli, highest, simulator, variant

from device_profiles.errors import Refused
from device_profiles.quantities import MicroAmps, MicroVolts, Milliseconds
from firmware_bridge.families.scs.closed_loop import SensorReading
from hil.bench import Stimulator
from hil.witness import Truth
from safety.closed_loop import Gain, LoopSettings, Sensor

LOOP = LoopSettings(
    target=MicroVolts(50),
    gain=Gain(MicroAmps(20), MicroVolts(1)),
    floor=MicroAmps(0),
    ceiling=MicroAmps(5_000),
    fallback=MicroAmps(2_000),
    slew=MicroAmps(200),
    every=Milliseconds(250),
    sensor=Sensor(Milliseconds(500), MicroVolts(-400), MicroVolts(400)),
)


@pytest.fixture
def steady(tmp_path: Path) -> Path:
    """The example without its cycle."""
    path = tmp_path / "steady.yaml"
    path.write_text(
        variant(STIMULATION, ("    cycle: {stimulate: 30 s, pause: 90 s}\n", "")), "utf-8"
    )
    return path


@pytest.mark.requirement("SR-50")
def test_after_a_magnet_a_bench_begins_at_zero(stimulator: Stimulator, truth: Truth) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start()
    stimulator.wait("5 s")
    stimulator.fault("magnet", at="1 s")
    with pytest.raises(Exception, match="from-zero"):
        stimulator.wait("5 s")
    assert truth.now("E3") == "0 mA"
    with pytest.raises(Refused, match="SR-50"):
        stimulator.start()
    stimulator.start(from_zero=True)
    stimulator.wait("5 s")
    assert truth.now("E3") == "0 mA"
    stimulator.amplitude("2 mA")
    stimulator.wait("5 s")
    assert truth.now("E3") == "2 mA"
    assert "magnet" in [alarm.code for alarm in stimulator.alarms]


@pytest.mark.requirement("SR-51")
def test_a_bench_closes_a_loop_with_an_instrument_of_its_own(
    stimulator: Stimulator, truth: Truth, steady: Path
) -> None:
    async def electrode() -> SensorReading:
        sample = await stimulator.controller.sample()
        return SensorReading(sample.values["area_1_amplitude_uA"] // 80)

    stimulator.apply(steady)
    stimulator.start(from_zero=True)
    end = stimulator.follow(electrode, LOOP, "30 s")
    assert end is None
    assert "3.7 mA" <= truth.peak("E3") <= "4 mA"
    stimulator.wait("1 s")
    assert truth.now("E3") == "2 mA"


@pytest.mark.requirement("SR-51")
@pytest.mark.fault("F19")
def test_a_bench_is_told_why_a_loop_ended(
    stimulator: Stimulator, truth: Truth, steady: Path
) -> None:
    left = 20

    async def electrode() -> SensorReading | None:
        nonlocal left
        left -= 1
        return SensorReading(0) if left > 0 else None

    stimulator.apply(steady)
    stimulator.start()
    stimulator.wait("5 s")
    end = stimulator.follow(electrode, LOOP, "30 s")
    assert end is not None
    assert end.fell_back
    assert truth.peak("E3") == "5 mA"
    assert truth.now("E3") == "2 mA"
    assert [alarm.code for alarm in stimulator.alarms] == ["loop-fallback"]


@pytest.mark.requirement("SR-51")
def test_what_an_instrument_raises_reaches_the_test(
    stimulator: Stimulator, truth: Truth, steady: Path
) -> None:
    async def broken() -> SensorReading:
        raise OSError(5, "the instrument is gone")

    stimulator.apply(steady)
    stimulator.start()
    stimulator.wait("5 s")
    with pytest.raises(OSError, match="instrument"):
        stimulator.follow(broken, LOOP, "5 s")
    assert truth.now("E3") == "2 mA"


@pytest.mark.real_clock
@pytest.mark.requirement("SR-50")
def test_a_run_is_told_to_begin_at_zero_and_does(tmp_path: Path) -> None:
    faults = ["at: renew 2, fault: magnet"]
    with simulator(tmp_path, "stimulator", *faults) as device:
        ended = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "10 s")
        assert ended.code == 5
        refused = cli("run", STIMULATION, "--device", device.url, "--yes", "--for", "1 s")
        assert refused.code == 3
        assert "SR-50" in refused.said
        assert "--from-zero" in refused.said
        done = cli(
            "run", STIMULATION, "--device", device.url, "--yes", "--for", "1 s", "--from-zero"
        )
        assert "started 'walking' at 0 mA" in done.said
    assert highest(device.truth()) <= 4_200
