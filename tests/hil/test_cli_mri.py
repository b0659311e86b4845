"""`neuraxis mri prepare` and `mri leave`, with an owner and without one."""

from pathlib import Path

import pytest
from cli_bench import (
    INFUSION,
    STIMULATION,
    apply,
    cli,
    is_silent,
    journal_of,
    running,
    simulator,
    whole,
)

pytestmark = [pytest.mark.real_clock, pytest.mark.requirement("SR-34")]


def test_a_running_owner_is_asked_and_its_run_ends_at_zero(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        run_on = ("run", STIMULATION, "--device", device.url, "--yes")
        with running(tmp_path, "run", *run_on) as run:
            run.until_it_says("started 'walking'")
            prepared = cli("mri", "prepare", device.url)
            assert prepared.code == 0, prepared.said
            assert "confirmed by the device (off)" in prepared.said
            assert "to come back: patient BENCH-007; programs walking, night" in prepared.said
            assert run.end().code == 0
        assert is_silent(device.truth())
        shown = cli("status", "--device", device.url)
        assert "prepared: patient BENCH-007" in shown.said
        refused = cli(*run_on, "--for", "1 s")
        assert refused.code == 3
        assert "SR-34" in refused.said
        assert "neuraxis mri leave" in refused.said

        left = cli("mri", "leave", device.url)
        assert left.code == 0, left.said
        assert "SCS-A is out of the field" in left.said
        assert ": stop" in left.said
        full = cli(*run_on, "--for", "1 s")
        assert full.code == 3
        assert "SR-50" in full.said
        assert cli(*run_on, "--for", "1 s", "--from-zero").code == 0
    assert whole(journal_of("SCS-A"))
    story = cli("journal", "show", journal_of("SCS-A")).said
    assert "prepared the device for a magnetic field" in story
    assert "took the device out of the magnetic field" in story


def test_a_pump_is_prepared_stalls_and_is_let_out_when_it_has_recovered(tmp_path: Path) -> None:
    with simulator(tmp_path, "pump") as device:
        assert apply(INFUSION, device.url).code == 0
        prepared = cli("mri", "prepare", device.url, "--format", "json")
        assert prepared.code == 0, prepared.said
        assert any("2 to 24 h" in one for one in prepared.json["checklist"])
        device.again("at: status 1, fault: motor_stall")
        held = cli("mri", "leave", device.url, "--override", "SR-59", "--reason", "a test")
        assert held.code == 3
        assert "the device still reports motor-stall" in held.said
        assert "2 to 24 h" in held.said
        device.again("at: status 1, fault: heal")
        left = cli("mri", "leave", device.url, "--override", "SR-59", "--reason", "a test")
        assert left.code == 0, left.said
        assert "the pump is held: apply the file again" in left.said
        assert apply(INFUSION, device.url).code == 0
    assert whole(journal_of("ITP-A"))


def test_a_host_with_another_journal_can_take_it_out(tmp_path: Path) -> None:
    with simulator(tmp_path, "stimulator") as device:
        assert apply(STIMULATION, device.url).code == 0
        assert cli("mri", "prepare", device.url).code == 0
        other = tmp_path / "another.journal"
        left = cli("mri", "leave", device.url, "--journal", other, "--format", "json")
        assert left.code == 0, left.said
        assert any("nothing from before the field" in note for note in left.json["notes"])


def test_an_override_without_a_reason_is_a_usage_error_and_asks_nobody() -> None:
    asked = cli("mri", "leave", "sim://pump", "--override", "SR-59", "--format", "json")
    assert (asked.code, asked.json["code"]) == (2, 2), asked.said
    assert asked.json["text"] == "an override needs a reason: add --reason TEXT"
