"""The pytest plugin: its fixtures on the simulator and on devices behind URLs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_bench import key_of

import hil.bench_setup  # stays imported, so that the runs inside these tests share its classes
from device_profiles.errors import DeviceFault, LinkError, LinkLost, Refused, UsageError
from hil.bench import Pump, Stimulator
from hil.witness import Truth
from safety.journal import parse

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
STIMULATION = ROOT / "examples" / "stimulation.yaml"
INFUSION = ROOT / "examples" / "infusion.yaml"
DANGEROUS = ROOT / "examples" / "dangerous.yaml"
assert hil.bench_setup


# --- the stimulator ----------------------------------------------------------------------------


def test_a_program_starts_is_lowered_switched_and_stopped(
    stimulator: Stimulator, truth: Truth
) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start()
    assert stimulator.wait("10 s").state == "on"
    assert truth.now("E3") == "4.2 mA"
    assert truth.now("E4") == "2.52 mA"
    stimulator.amplitude("4.0 mA")
    stimulator.wait("1 s")
    assert truth.now("E3") == "4 mA"
    stimulator.switch("night")
    stimulator.wait("6 s")
    assert truth.now("E3") == "0.6 mA"
    assert truth.now("E5") == "0 mA"
    assert stimulator.stop().state == "off"
    assert truth.now("E3") == "0 mA"
    assert truth.peak("E3") == "4.2 mA"
    assert stimulator.alarms == []


def test_the_lease_is_kept_however_long_a_test_waits(stimulator: Stimulator, truth: Truth) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start("night")
    stimulator.wait("3 min")
    assert truth.now("E3") == "0.6 mA"


def test_impedances_come_by_the_names_of_the_contacts(stimulator: Stimulator) -> None:
    stimulator.fault("open_contact", contact="E3")
    ohms = stimulator.impedance()
    assert list(ohms) == [f"E{number}" for number in range(1, 17)]
    assert ohms["E3"] == 20_000
    assert 400 < ohms["E4"] < 600


def test_what_the_judge_refuses_raises_refused(stimulator: Stimulator, truth: Truth) -> None:
    with pytest.raises(Refused, match=r"dangerous\.yaml:22:20: SR-41"):
        stimulator.apply(DANGEROUS)
    with pytest.raises(UsageError, match="apply a therapy file first"):
        stimulator.start()
    stimulator.apply(STIMULATION)
    stimulator.start()
    with pytest.raises(Refused, match="ceiling"):
        stimulator.amplitude("6.1 mA")
    with pytest.raises(Refused, match="no program 'sleeping'"):
        stimulator.switch("sleeping")
    assert truth.peak("E9") <= "0.1 mA"


def test_a_file_of_another_device_is_refused(pump: Pump, truth: Truth) -> None:
    with pytest.raises(Refused, match="nothing was sent"):
        pump.apply(STIMULATION)
    assert truth.mass("morphine") == "0 mg"


def test_a_file_that_cannot_be_read_is_a_usage_error(pump: Pump, tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("therapy: infusion\nbasal: {\n", "utf-8")
    with pytest.raises(UsageError, match=r"broken\.yaml:"):
        pump.apply(file)
    with pytest.raises(UsageError):
        pump.apply("no-such-file.yaml")


def test_an_override_needs_a_reason(stimulator: Stimulator) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        stimulator.apply(STIMULATION, override="SR-41")


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.requirement("SR-33")
@pytest.mark.requirement("SR-53")
def test_an_unplugged_stimulator_ramps_to_zero_by_itself(
    stimulator: Stimulator, truth: Truth
) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start("night")
    stimulator.wait("6 s")
    stimulator.fault("unplug", at="renew 2")
    with pytest.raises(LinkLost, match="unplugged"):
        stimulator.wait("10 s")
    assert truth.now("E3") == "0.6 mA"
    stimulator.fault("plug_in")
    stimulator.reconnect()
    stimulator.wait("3 s")
    assert truth.now("E3") == "0 mA"


def test_the_end_of_a_test_uses_a_fresh_line_when_the_old_one_is_lost(
    stimulator: Stimulator,
) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start()
    stimulator.fault("unplug")
    with pytest.raises(LinkError):
        stimulator.wait("1 s")
    stimulator.fault("plug_in")


@pytest.mark.requirement("SR-27")
@pytest.mark.fault("F51")
def test_a_restart_ends_the_output_and_reconnecting_goes_on(
    stimulator: Stimulator, truth: Truth
) -> None:
    stimulator.apply(STIMULATION)
    stimulator.start()
    stimulator.wait("5 s")
    stimulator.fault("reset", at="renew 1")
    with pytest.raises((DeviceFault, LinkError)):
        stimulator.wait("5 s")
    assert truth.now("E3") == "0 mA"
    stimulator.reconnect()
    with pytest.raises(Refused, match="at 0 mA"):
        stimulator.start()
    stimulator.start(from_zero=True)
    stimulator.amplitude("4.2 mA")
    stimulator.wait("5 s")
    assert truth.now("E3") == "4.2 mA"


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-21")
@pytest.mark.fault("F30")
def test_a_bolus_whose_reply_is_lost_is_given_once(pump: Pump, truth: Truth) -> None:
    pump.fault("drop_reply", at="commit 1")
    assert pump.apply(INFUSION).settled_by_asking
    before = truth.mass("morphine")
    pump.fault("drop_reply", at="bolus 1")
    assert "asked, the device says: running" in pump.bolus("0.1 mg", over="5 min").evidence
    pump.wait("5 min")
    assert truth.mass("morphine").value - before.value < 110_000_000_000


def test_a_stalled_motor_sounds_an_alarm_when_it_is_due(pump: Pump) -> None:
    pump.apply(INFUSION)
    pump.fault("motor_stall", at="2 h")
    pump.wait("1 h")
    assert pump.alarms == []
    pump.wait("2 h")
    assert "motor-stall" in [alarm.code for alarm in pump.alarms]


def test_a_fault_that_is_none_is_named(pump: Pump) -> None:
    with pytest.raises(UsageError, match="no fault 'nonsense'; there are: drop_request"):
        pump.fault("nonsense")
    with pytest.raises(UsageError, match="belongs to a request, not to a time"):
        pump.fault("drop_reply", at="5 s")
    with pytest.raises(UsageError, match="a pump has no fault 'open_contact'"):
        pump.fault("open_contact", contact="E3")


# --- the pump ----------------------------------------------------------------------------------


def test_a_button_gives_its_bolus_once_a_lockout(pump: Pump, truth: Truth) -> None:
    pump.apply(INFUSION)
    pump.wait("5 h")
    assert pump.press()
    assert not pump.press()
    pump.wait("10 min")
    assert truth.most_in("10 min", "morphine") <= "0.168 mg"
    assert truth.most_in("10 min", "morphine") >= "0.15 mg"


@pytest.mark.requirement("SR-05")
@pytest.mark.requirement("SR-14")
@pytest.mark.fault("F91")
def test_a_day_stays_within_every_window(pump: Pump, truth: Truth) -> None:
    pump.apply(INFUSION)
    for _ in range(12):
        pump.press()
        pump.wait("2 h")
    assert truth.most_in("1 h", "morphine") <= "0.4 mg"
    assert truth.most_in("4 h", "morphine") <= "1 mg"
    assert truth.most_in("24 h", "morphine") <= "4 mg"
    assert truth.mass("morphine") > "2.5 mg"


@pytest.mark.requirement("SR-30")
@pytest.mark.requirement("SR-32")
def test_stopping_keeps_the_basal_and_stopping_the_flow_ends_it(pump: Pump, truth: Truth) -> None:
    pump.apply(INFUSION)
    assert pump.stop().state == "held"
    pump.wait("1 h")
    flowed = truth.mass("morphine")
    assert flowed > "0.07 mg"
    assert pump.stop(flow=True).state == "halted"
    pump.wait("1 h")
    assert truth.mass("morphine") == flowed


def test_both_devices_share_the_time(pump: Pump, stimulator: Stimulator, truth: Truth) -> None:
    pump.apply(INFUSION)
    stimulator.apply(STIMULATION)
    stimulator.start()
    stimulator.wait("1 h")
    assert "0.07 mg" < truth.mass("morphine") < "0.11 mg"
    assert truth.peak("E3") == "4.2 mA"


def test_a_journal_lies_in_the_tests_own_folder(pump: Pump, tmp_path: Path) -> None:
    pump.apply(INFUSION)
    pump.reconnect()
    (journal,) = tmp_path.glob("neuraxis/journals/*.journal")
    contents = parse(journal.read_bytes())
    assert journal.name == f"{pump.serial}.journal"
    assert contents.problem is None
    assert [e.kind for e in contents.events].count("connected") == 2


# --- the witness -------------------------------------------------------------------------------


def test_a_question_that_makes_no_sense_is_answered_with_why(pump: Pump, truth: Truth) -> None:
    pump.apply(INFUSION)
    with pytest.raises(UsageError, match="this test uses no stimulator"):
        truth.peak("E3")
    with pytest.raises(UsageError, match="no contact 'E17'"):
        truth.peak("E17")
    with pytest.raises(UsageError, match="no drug 'baclofen'; it knows morphine"):
        truth.mass("baclofen")
    with pytest.raises(UsageError, match="exactly one space"):
        assert truth.mass("morphine") <= "4mg"
    with pytest.raises(TypeError):
        assert truth.mass("morphine") <= 4


async def test_a_coroutine_is_told_to_be_a_plain_test(pump: Pump) -> None:
    with pytest.raises(UsageError, match="plain `def` test"):
        pump.status()


# --- runs of their own -------------------------------------------------------------------------

SETTINGS = "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of somebody else, with settings of its own."""
    pytester.makeini(SETTINGS)
    return pytester


def test_the_example_runs_as_written() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_bench.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_comparison_that_fails_says_what_was_measured(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        f"""
        def test_it(stimulator, truth):
            stimulator.apply({str(STIMULATION)!r})
            stimulator.start()
            stimulator.wait("10 s")
            assert truth.peak("E3") <= "4 mA"
        """
    )
    result = inner.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*assert 4.2 mA <= 4 mA", "*4.2 mA: the largest current through E3, at *"]
    )


def test_a_test_that_fails_midway_leaves_its_device_safe_and_nothing_open(
    inner: pytest.Pytester,
) -> None:
    inner.makepyfile(
        f"""
        seen = []

        def test_it(stimulator):
            seen.append(stimulator)
            stimulator.apply({str(STIMULATION)!r})
            stimulator.start()
            stimulator.wait("10 s")
            raise RuntimeError("in the middle of it")

        def test_after():
            assert seen[0].controller.session.broken
        """
    )
    folder = inner.path / "kept"
    inner.runpytest_inprocess("--basetemp", folder).assert_outcomes(failed=1, passed=1)
    (journal,) = folder.rglob("SCS-0001.journal")
    last = parse(journal.read_bytes()).events[-1]
    assert last.kind == "stopped"
    assert last.confirmed


def test_a_safe_state_that_cannot_be_confirmed_fails_the_test(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        f"""
        def test_it(stimulator):
            stimulator.apply({str(STIMULATION)!r})
            stimulator.start()
            stimulator.fault("silence")
        """
    )
    result = inner.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*Uncertain: SCS-0001: its safe state could not be confirmed*"])


def test_the_help_and_the_list_of_fixtures_explain_the_plugin(inner: pytest.Pytester) -> None:
    inner.runpytest_inprocess("--help").stdout.fnmatch_lines(
        ["neuraxis: bench tests of stimulators and pumps:", "*--device=URL*"]
    )
    inner.runpytest_inprocess("--fixtures").stdout.fnmatch_lines(
        ["stimulator -- *", "pump -- *", "truth -- *"]
    )


def test_pytest_starts_without_the_weight_of_neuraxis() -> None:
    """Whoever has neuraxis installed pays for it only in tests that use it."""
    program = (
        "import sys, hil.plugin; heavy = ('firmware_bridge', 'safety', 'device_profiles', "
        "'pydantic', 'matplotlib', 'asyncio'); before = {'pytest'}; "
        "print([m for m in sys.modules if m.split('.')[0] in heavy[:-1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


# --- devices behind URLs -----------------------------------------------------------------------


@contextmanager
def simulator(family: str, truth: Path) -> Iterator[str]:
    """A simulator as a process of its own; its URL. It lives as long as its device flows."""
    listen = ["--listen", "tcp:127.0.0.1:0", "--truth", str(truth), "--until-parent-ends"]
    listen += ["--key", str(key_of("SCS-0001" if family == "stimulator" else "ITP-0001"))]
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware_bridge.simulator", family, *listen],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["listening"]
        process.terminate()


@pytest.mark.real_clock
@pytest.mark.requirement("SR-60")
def test_devices_behind_urls_serve_the_fixtures_of_their_families(
    inner: pytest.Pytester, tmp_path: Path
) -> None:
    truth = tmp_path / "stimulator.jsonl"
    inner.makepyfile(
        f"""
        from pathlib import Path

        import pytest
        from device_profiles.errors import Refused, UsageError

        def test_stimulator(stimulator):
            stimulator.apply({str(STIMULATION)!r})
            stimulator.start()
            # Busy for longer than the lease, as an oscilloscope may be: until 2.8 mA flow.
            while '"E3", "amplitude_uA": -2800' not in Path({str(truth)!r}).read_text():
                pass
            assert stimulator.wait("200 ms").state == "rising"
            raise RuntimeError("in the middle of it")

        def test_pump(pump):
            pump.apply({str(INFUSION)!r})
            pump.bolus("0.1 mg", over="5 min")
            with pytest.raises(UsageError, match="without --device"):
                pump.fault("silence")

        def test_the_windows_of_a_device_outlast_a_test(pump):
            with pytest.raises(Refused) as refused:
                pump.bolus("0.1 mg", over="5 min")
            assert "SR-15" in [finding.rule for finding in refused.value.findings]

        def test_truth(pump, truth):
            pass
        """
    )
    truths = {family: tmp_path / f"{family}.jsonl" for family in ("stimulator", "pump")}
    with (
        simulator("pump", truths["pump"]) as pump,
        simulator("stimulator", truths["stimulator"]) as stimulator,
    ):
        result = inner.runpytest_subprocess("--device", pump, "--device", stimulator, "-rs")
    result.assert_outcomes(failed=1, passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*in the middle of it*", "SKIPPED*no witness*"])
    lines = [json.loads(line) for line in truths["stimulator"].read_text().splitlines()]
    shown = {line["contact"]: line["amplitude_uA"] for line in lines}
    assert max(abs(line["amplitude_uA"]) for line in lines) > 2_500
    assert set(shown.values()) == {0}


@pytest.mark.real_clock
def test_a_fixture_without_a_device_of_its_family_is_skipped_with_the_reason(
    inner: pytest.Pytester,
) -> None:
    inner.makepyfile(
        f"""
        def test_it(stimulator):
            pass

        def test_other(pump):
            pump.apply({str(INFUSION)!r})
            assert pump.wait("100 ms").delivering
        """
    )
    result = inner.runpytest_subprocess("--device", "sim://pump", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    reason = "no stimulator was given with --device: sim://pump is a pump"
    result.stdout.fnmatch_lines([f"SKIPPED*{reason}"])


@pytest.mark.real_clock
def test_a_device_that_is_not_there_is_an_error_and_no_skip(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_it(pump): pass")
    result = inner.runpytest_inprocess("--device", "tcp://127.0.0.1:1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*LinkError: tcp://127.0.0.1:1*"])
