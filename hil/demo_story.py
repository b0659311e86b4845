"""What the demo tells: its devices, its faults and its steps."""

from dataclasses import dataclass

SERIALS = {"stimulator": "SCS-0001", "pump": "ITP-0001"}
_PORT = "--listen pty:{folder}/{family} --truth {folder}/{family}.truth.jsonl"
DEVICES = {
    "stimulator": _PORT,
    # Two seconds of the demo are an hour of the pump's therapy.
    "pump": _PORT + " --state {folder}/pump.json --speed 1800 --faults {folder}/faults.yaml",
}

FAULTS = """\
- {at: bolus 1, fault: drop_reply}
- {at: 450 min, fault: press_button}
"""
"""One reply is lost; and a patient presses the button, which is no fault but part of the story."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the demo: its arguments, its exit code, and what its output must say.

    ``keeps`` names what the first group of ``says`` is remembered as, for the arguments of later
    steps. ``meanwhile`` are commands of another terminal, asked while this one runs; each is
    repeated until it says what it should.
    """

    command: str
    says: str
    heading: str = ""
    code: int = 0
    keeps: str = ""
    meanwhile: tuple["Step", ...] = ()


STEPS = (
    Step(
        "check {stimulation}",
        "accepted",
        "Two therapy files are read and judged, without any device.",
    ),
    Step("check {infusion}", "accepted"),
    Step(
        "check {dangerous}",
        r"22 \|.*24 mA",
        "A slip of the keyboard, 24 mA for 2.4 mA, is refused at its line (exit code 3).",
        code=3,
    ),
    Step(
        "plan {infusion} --device {pump}",
        r"digest:\s+(\S+)",
        "The pump: old and new side by side, and the digest that stands for exactly this.",
        keeps="digest",
    ),
    Step(
        "apply {infusion} --device {pump} --confirm {digest}",
        "read back equal",
        "Confirmed by its digest: recorded, sent, read back from the pump.",
    ),
    Step(
        'bolus "0.1 mg" --over "5 min" --device {pump}',
        "the reply was lost; asked, the device says: (executed|running)",
        "A bolus; its reply is lost on the line. It is not sent twice: the pump is asked.",
    ),
    Step(
        'bolus "0.1 mg" --over "5 min" --device {pump}',
        "within one window of 1 hour",
        "A second one would overfill the hour. Refused (exit code 3), nothing is sent.",
        code=3,
    ),
    Step(
        'run {stimulation} --device {stimulator} --yes --for "9 s"',
        "",
        "The stimulator: planned, applied, measured, ramped up, watched, and stopped at the end.",
        meanwhile=(
            Step("status", " is on\n"),
            Step('amplitude "3.8 mA"', "delivered"),
        ),
    ),
    Step(
        "stop --device {pump}",
        "stopped and confirmed",
        "Stop: the pump ends boluses and keeps its basal; withdrawal would do harm too.",
    ),
    Step(
        "journal verify {pump_journal}",
        "whole",
        "The pump's journal: a chain that shows any change, and the story of the lost reply.",
    ),
    Step("journal show {pump_journal}", "reply was lost"),
)
