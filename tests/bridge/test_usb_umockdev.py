"""The real libusb under umockdev: no kernel and no root, and every line of libusb's own."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from usb_kernel.outside import ROOT, STALL, simulator, steps_of

BED = Path(__file__).with_name("umockdev_bed.py")
PYTHON = "/usr/bin/python3"
"""The system's: PyGObject is not in the project's."""
LIMIT_S = 120.0


def lacking() -> str:
    """What is missing on this machine; nothing if all is there."""
    if shutil.which("umockdev-wrapper") is None:
        return "umockdev is not installed (Debian: umockdev)"
    asked = "import gi; gi.require_version('UMockdev', '1.0'); from gi.repository import UMockdev"
    done = subprocess.run([PYTHON, "-c", asked], capture_output=True, check=False)
    return "no PyGObject for umockdev (python3-gi, gir1.2-umockdev-1.0)" if done.returncode else ""


@pytest.mark.usb_umockdev
@pytest.mark.requirement("SR-25")
def test_the_main_job_on_the_real_libusb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := lacking():
        pytest.skip(reason)
    faults, log = tmp_path / "faults.yaml", tmp_path / "log"
    faults.write_text(STALL, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with (
        simulator("pump", "ITP-KERNEL", "--faults", str(faults)) as pump,
        simulator("stimulator", "SCS-KERNEL") as stimulator,
        log.open("w", encoding="utf-8") as said,
    ):
        job = [sys.executable, "-m", "tests.usb_kernel.job", pump.url, stimulator.url]
        bed = ["umockdev-wrapper", PYTHON, str(BED), pump.attach, stimulator.attach]
        worker = subprocess.Popen(
            [*bed, "--", *job],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        limit = threading.Timer(LIMIT_S, worker.kill)
        limit.start()
        try:
            steps = [step["step"] for step in steps_of(worker, pump.process, said)]
            assert worker.wait(10) == 0
        finally:
            limit.cancel()
            worker.kill()
            worker.communicate()
    assert steps == [
        *("two_alike", "status_through_a_stall", "apply", "bolus", "stop"),
        *("status", "stimulate", "time_out", "unplugged"),
    ]
