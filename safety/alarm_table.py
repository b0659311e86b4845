"""Every alarm there is: its priority, what it means, what to do, whether the monitor stops on it.

The board, the screens, the monitor and `docs/alarms.md` all read it here.
"""

from dataclasses import dataclass
from typing import Literal

from device_profiles.formulary import StopPolicy

Priority = Literal["HIGH", "MEDIUM", "LOW"]

BY_DRUG: dict[StopPolicy, Priority] = {
    "never-stop": "HIGH",
    "hold-basal": "MEDIUM",
    "may-stop": "LOW",
}
"""How urgent missing drug is: by what its withdrawal does [domain 4.5]."""


@dataclass(frozen=True, slots=True)
class AlarmKind:
    """What an alarm's code stands for.

    ``priorities``: those it may have, the highest first; several where the drug or the amount
    decides. ``moment``: it tells of something that happened, not of something that lasts, so a
    person has to have looked whatever its priority. ``stops``: the monitor stops the device.
    ``host``: no sample shows it, so no sample ends it.
    """

    code: str
    priorities: tuple[Priority, ...]
    requirement: str
    means: str
    do: str
    moment: bool = False
    stops: bool = False
    host: bool = False


_BY_DRUG: tuple[Priority, ...] = ("HIGH", "MEDIUM", "LOW")
_AFTER_TOO_MUCH = (
    "Look at the person first: breathing, alertness, pressure. The monitor has stopped the device "
    "by its drug's policy; if too much still flows, `neuraxis stop --flow`, or disconnect it."
)
_GET_FLOW_BACK = (
    "Watch the person for withdrawal. Find out why nothing flows; apply the therapy file again, or "
    "give the drug another way."
)
_LOOK_AT_LINE = "Check cable, port and power, then connect again."

_KINDS = (
    # --- too much: the monitor stops
    AlarmKind(
        "free-flow",
        ("HIGH",),
        "SR-54",
        "more flows than the pump can be programmed to",
        _AFTER_TOO_MUCH,
        stops=True,
    ),
    AlarmKind(
        "over-delivery",
        ("HIGH",),
        "SR-54",
        "more has left the pump than was planned, its accuracy included",
        _AFTER_TOO_MUCH,
        stops=True,
    ),
    AlarmKind(
        "over-plan",
        ("HIGH",),
        "SR-54",
        "a stimulator shows more than was granted, or another program",
        "Ask the person. The monitor has brought the output to zero; look at the device before "
        "it is started again.",
        stops=True,
    ),
    AlarmKind(
        "over-limit",
        ("HIGH",),
        "SR-54",
        "a limit of the patient or of the device is passed, whatever was granted",
        _AFTER_TOO_MUCH,
        stops=True,
    ),
    AlarmKind(
        "delivery-without-intent",
        ("HIGH",),
        "SR-54",
        "the device delivers, or was told to, what no entry of the journal asks for",
        _AFTER_TOO_MUCH + " Find out who else speaks to it.",
        stops=True,
    ),
    AlarmKind(
        "rise-too-fast",
        ("MEDIUM",),
        "SR-50",
        "a stimulator's output rose faster than the ramp of its program allows",
        "Ask the person; lower it or stop it. Look at leads and device before the next start.",
        moment=True,
    ),
    # --- evidence that contradicts itself
    AlarmKind(
        "bolus-over",
        ("HIGH",),
        "SR-54",
        "the pump counts more for a bolus than was asked for",
        "Look at the person; it counts in full. Do not give the next bolus before the pump was "
        "looked at.",
    ),
    AlarmKind(
        "sent-twice",
        ("HIGH",),
        "SR-20",
        "the frame of one command left twice",
        "The device acts on one only. Look at its output and keep the journal: this is a fault "
        "of the host.",
    ),
    AlarmKind(
        "foreign-frame",
        ("HIGH",),
        "SR-10",
        "the device answers to a conversation that is not ours: another program speaks to it",
        "Find the other program or adapter on this line and take it off.",
    ),
    AlarmKind(
        "odometer-fell",
        ("HIGH",),
        "SR-54",
        "the count of all that was delivered went backwards",
        "Do not believe the pump's totals; weigh or measure what is left. Boluses stay closed "
        "for a day.",
    ),
    AlarmKind(
        "reservoir-fell",
        ("HIGH",),
        "SR-54",
        "the reservoir loses more than passes the outlet",
        "Look for a leak and for a fill beside the reservoir; look at the person; measure what "
        "is left.",
    ),
    AlarmKind(
        "program-differs",
        ("HIGH",),
        "SR-22",
        "the device holds another program than the one that was verified",
        "Read the plan: it shows what is in the device. Apply the therapy file.",
    ),
    AlarmKind(
        "device-restarted",
        ("MEDIUM",),
        "SR-27",
        "the device has started anew while it was watched",
        "Connect again: its program is read back first. Look for the reason of the restart.",
        moment=True,
    ),
    # --- too little: never a stop
    AlarmKind(
        "no-flow",
        _BY_DRUG,
        "SR-30",
        "nothing flows although the program asks for it",
        _GET_FLOW_BACK,
    ),
    AlarmKind(
        "under-delivery",
        _BY_DRUG,
        "SR-54",
        "less has left the pump in five minutes than was planned, its accuracy included",
        _GET_FLOW_BACK,
    ),
    AlarmKind(
        "deficit",
        ("HIGH", "LOW"),
        "SR-30",
        "a quarter of a day's dose is missing, and of an opioid that is withdrawal",
        _GET_FLOW_BACK,
    ),
    AlarmKind(
        "bolus-under",
        ("MEDIUM",),
        "SR-54",
        "the pump says that a bolus is done, and less has left it",
        "It counts in full against the windows; ask the person before giving more.",
        moment=True,
    ),
    AlarmKind(
        "reservoir-days",
        ("HIGH", "MEDIUM", "LOW"),
        "SR-18",
        "a drug that must not stop lasts for 7, 3 or 1 more days",
        "Plan the refill now; the figure counts all boluses and the pump's accuracy.",
    ),
    AlarmKind(
        "stall-in-field",
        _BY_DRUG,
        "SR-34",
        "less flowed than was due while the pump was in a magnetic field; it flows again",
        "Look at the person for withdrawal; what was missed is not made up for.",
        moment=True,
    ),
    AlarmKind(
        "loop-fallback",
        ("MEDIUM",),
        "SR-51",
        "a closed loop has lost its sensor or failed, and left its area at the fallback",
        "Look at sensor, lead and plug; a loop begins again only when a person starts it.",
        moment=True,
    ),
    # --- what nobody knows
    AlarmKind(
        "uncertain",
        ("MEDIUM",),
        "SR-21",
        "it is not known whether a command was carried out; it counts as if it was",
        "Connect again, for instance with `neuraxis status`: the device is asked.",
    ),
    AlarmKind(
        "programming-open",
        ("MEDIUM",),
        "SR-22",
        "a change of program was begun and never finished; both programs count",
        "Connect again; then plan and apply the therapy file.",
    ),
    AlarmKind(
        "telemetry-stale",
        ("MEDIUM",),
        "SR-52",
        "the last reading is old and nothing newer comes",
        _LOOK_AT_LINE,
    ),
    AlarmKind(
        "waiver-expired",
        ("LOW",),
        "SR-57",
        "a soft limit was passed for a time, and that time is over",
        "Decide again: apply the file with a reason, or with other values.",
    ),
    AlarmKind(
        "clock-jump",
        ("LOW",),
        "SR-15",
        "a clock of the device or of the host does not run as the other does",
        "Compare the clocks. No limit follows them; a pump keeps its schedule until a new plan.",
        moment=True,
    ),
    # --- the host itself
    AlarmKind(
        "host-stalled",
        ("MEDIUM",),
        "SR-53",
        "the host's event loop stood still for as long as a stimulator's lease",
        "Look at the device. Find out what held the host up: a slow disk, a busy machine.",
        moment=True,
        host=True,
    ),
    AlarmKind(
        "stop-unconfirmed",
        ("HIGH",),
        "SR-32",
        "a stop was sent and the safe state never seen",
        "Go to the device and disconnect it by hand: its leads, or its catheter.",
    ),
    AlarmKind(
        "monitor-lost",
        ("HIGH",),
        "SR-53",
        "the second pair of eyes is gone; the device was stopped by its drug's policy",
        "Start the run again; if it happens again, keep the journal.",
        moment=True,
    ),
    AlarmKind(
        "owner-lost",
        ("HIGH",),
        "SR-53",
        "the process that drove the device hung or died; its monitor stopped the device",
        "Look at the device, then start again.",
        moment=True,
    ),
    AlarmKind(
        "link-lost",
        ("LOW",),
        "SR-52",
        "the line broke; the device goes on or ends by itself, as its family does",
        _LOOK_AT_LINE,
        moment=True,
    ),
    AlarmKind(
        "journal-latched",
        ("MEDIUM",),
        "SR-56",
        "the journal cannot be written or trusted: no bolus, no increase",
        "Keep the file, look at the disk, start again.",
        host=True,
    ),
    AlarmKind(
        "journal-unread",
        ("MEDIUM",),
        "SR-56",
        "the monitor can no longer read the journal: it judges only what contradicts itself",
        "End the run, keep the file, look at the disk.",
        moment=True,
    ),
    AlarmKind(
        "unheard",
        ("MEDIUM",),
        "SR-55",
        "an alarm was raised and could not be sounded",
        "Read the board: `neuraxis alarms`. Look at the terminal or the program that should sound.",
        moment=True,
    ),
    # --- what devices say of themselves
    AlarmKind(
        "motor-stall",
        _BY_DRUG,
        "SR-55",
        "the motor does not turn",
        "A magnet may hold it for hours. " + _GET_FLOW_BACK,
    ),
    AlarmKind(
        "occlusion",
        _BY_DRUG,
        "SR-55",
        "the motor turns against a closed outlet",
        "Do not force it: what is under pressure comes at once when it opens. " + _GET_FLOW_BACK,
    ),
    AlarmKind("pump-stopped", _BY_DRUG, "SR-55", "the pump is halted", _GET_FLOW_BACK),
    AlarmKind(
        "reservoir-empty", _BY_DRUG, "SR-55", "the reservoir is empty", "Refill. " + _GET_FLOW_BACK
    ),
    AlarmKind(
        "low-battery-reset",
        _BY_DRUG,
        "SR-55",
        "the battery failed and the program is gone",
        _GET_FLOW_BACK,
    ),
    AlarmKind(
        "end-of-service",
        ("HIGH",),
        "SR-55",
        "the pump's battery is at its end: nothing flows, and no host can change that",
        "Watch the person for withdrawal and give the drug another way; the pump must be replaced.",
    ),
    AlarmKind(
        "elective-replacement",
        ("LOW",),
        "SR-55",
        "the pump's battery nears its end",
        "Plan the replacement now: at the end of the battery all flow stops at once.",
    ),
    AlarmKind(
        "memory-error",
        ("MEDIUM",),
        "SR-55",
        "the device's memory takes no program any more; the verified one goes on",
        "Stopping and lowering still work; plan the replacement of the device.",
    ),
    AlarmKind(
        "low-reservoir",
        ("LOW",),
        "SR-55",
        "the reservoir is at its alarm volume",
        "Plan the refill.",
    ),
    AlarmKind("battery-low", ("LOW",), "SR-55", "the battery is low", "Charge or replace it."),
    AlarmKind(
        "lease-ended",
        ("MEDIUM",),
        "SR-55",
        "the output went to zero because its host fell silent",
        "Find out what held the host up, then start again.",
    ),
    AlarmKind(
        "magnet",
        ("MEDIUM",),
        "SR-55",
        "a magnet has brought the output to zero",
        "Take it away; start with `neuraxis run FILE --from-zero`.",
    ),
    AlarmKind(
        "mri-mode",
        ("MEDIUM",),
        "SR-55",
        "the device is in its MRI mode and gives no output",
        "Leave the field first: `neuraxis mri`.",
    ),
    AlarmKind(
        "amplitude-stuck",
        ("MEDIUM",),
        "SR-55",
        "the output does not follow what was set",
        "Disconnect the leads by hand if too much flows; do not start it again.",
    ),
    AlarmKind(
        "overdischarge",
        ("MEDIUM",),
        "SR-55",
        "the battery was discharged too deep and the programs are gone",
        "Charge it, then apply the therapy file; too many of these end a battery's life.",
    ),
    AlarmKind(
        "open-contact", ("MEDIUM",), "SR-55", "a contact carries no current", "Look at the lead."
    ),
    AlarmKind(
        "short-contact", ("MEDIUM",), "SR-55", "two contacts are joined", "Look at the lead."
    ),
    AlarmKind(
        "out-of-compliance",
        ("MEDIUM",),
        "SR-55",
        "the voltage does not suffice: less flows than is shown",
        "Measure the impedances before anything is raised.",
    ),
    AlarmKind(
        "(any other)",
        ("MEDIUM",),
        "SR-55",
        "the device reports something by this name",
        "Look it up in the device's own description.",
    ),
)
OTHER = _KINDS[-1]
"""Stands for every alarm of a device that this table does not name."""
KINDS = {kind.code: kind for kind in _KINDS}


def kind_of(code: str) -> AlarmKind:
    """What an alarm's code stands for."""
    return KINDS.get(code, OTHER)
