"""The rule about direct current: what a phase drives out must come back (SR-42).

An area names one amplitude and one width, and a device drives both phases of an active recharge
with them: neither a file nor a frame can say that they differ, so each contact gets back what it
gave. Two things are left to judge or to tell.

- The contacts of an area, the case among them, must take back together what they give in each
  phase, in whole pC. What is left over flows through a path that nobody named, always the same
  way round, and a coupling capacitor is no evidence that it does not (domain 1.4).
- A passive recharge drives nothing: it shorts the contacts and waits. How fast it empties them
  depends on capacitor and tissue, for which there is no source; so its *time* is judged (SR-48: at
  least what its pulses took), and the charge that gathers before it is reported, not judged: as
  one phase it would flag a vendor's nominal burst (domain 1.4, project decision).

The published limits of direct current that this project knows (0.75 uA/mm2, 100 nA) are from
memory, the clause of ISO 14708-3 was not seen. So there is no tolerance: net charge is exactly 0.
"""

from device_profiles.diagnostics import Finding
from device_profiles.profile import StimulatorProfile
from device_profiles.quantities import (
    MicroAmps,
    MilliHertz,
    PicoCoulombs,
    charge_per_phase,
    divide_up,
    share_of,
)
from device_profiles.therapy import ElectrodeShare
from safety.charge import microcoulombs
from safety.outputs import AreaOutput, StimulatorProgram

FEMTO_PER_NANO = 1_000_000


def net_charge(area: AreaOutput, level: MicroAmps) -> PicoCoulombs:
    """What flows out of an area in one phase and is not taken back by it, signed."""
    current = sum(share_of(level, electrode.share) for electrode in area.electrodes)
    return PicoCoulombs(current * area.pulse_width)


def direct_current(net: PicoCoulombs, pulses: int, rate: MilliHertz) -> int:
    """The direct current that a net charge in each pulse amounts to, in nA, rounded up."""
    return divide_up(abs(net) * pulses * rate, FEMTO_PER_NANO)


def judge_balance(program: StimulatorProgram, profile: StimulatorProfile) -> list[Finding]:
    """SR-42: no area leaves a net charge behind, at the set amplitude or at the ceiling.

    One finding for an area, at the level that leaves more. Protects from direct current, which
    dissolves contacts and destroys tissue. Harm: none known; an area that is a circuit has none.
    Longest denial: until the shares are corrected. Way out: shares that add up to 0 %, and
    amplitudes that every contact's share divides into whole uA.
    """
    findings = []
    for index, area in enumerate(program.areas):
        net = max((net_charge(area, level) for level in (area.amplitude, area.ceiling)), key=abs)
        if net == 0:
            continue
        amounts = direct_current(net, program.burst_pulses, program.rate)
        findings.append(
            Finding(
                "SR-42",
                "hard",
                f"programs[{program.slot}].areas[{index}].electrodes",
                f"in each phase {microcoulombs(abs(net))} is not taken back by any contact of the "
                f"area: a direct current of {amounts} nA at this rate",
                microcoulombs(abs(net)),
                "0 uC",
                "rule",
                "let cathodes share -100 % and anodes +100 %, in steps of the device's amplitude",
            )
        )
    return findings


# --- for people to read; no judgement uses what follows --------------------------------------


def build_up(
    program: StimulatorProgram, area: AreaOutput, electrode: ElectrodeShare
) -> PicoCoulombs | None:
    """SR-48: what all pulses of a burst leave on a contact before its passive recharge begins.

    ``None`` where each pulse is recharged by itself.
    """
    if area.recharge == "active" or program.burst_pulses == 1:
        return None
    one = charge_per_phase(share_of(area.amplitude, electrode.share), area.pulse_width)
    return PicoCoulombs(one * program.burst_pulses)
