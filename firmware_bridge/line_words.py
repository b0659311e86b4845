"""What a person is told when a device does not answer as it should: what, where, what to do."""

from device_profiles.errors import DeviceFault
from device_profiles.quantities import Milliseconds
from firmware_bridge.link_counts import LinkCounts
from firmware_bridge.protocol.messages import Message, Refused, Reply

REMEDIES = {
    "no-key": ". This host has a key for it and sends nothing unsealed. Has the board lost its "
    "key, or does somebody on the line pretend so? Provision it again at the bench; a board in "
    "bring-up is asked with ?unsealed=yes",
    "unsealed": ". Leave ?unsealed=yes away, and add its key: neuraxis keys add SERIAL FILE",
    "not-proved": ". It holds another key than this host, or somebody is between: look at the "
    "line, then provision the key again at the bench",
}
"""What a person can do about a refusal."""


class AnotherDevice(DeviceFault):
    """Another device answers than the one this conversation is with: a plug was moved (SR-25)."""


def another_device(known: str, answers: str) -> str:
    """Who answers where another one was."""
    return (
        f"{answers} answers where {known} was: the plug has been moved, or the boards were "
        "changed. Nothing of what it said was believed. Look at the cables, then connect again"
    )


def is_forgotten(reply: Reply) -> bool:
    """Whether the device says that it is in another conversation, or in none."""
    return isinstance(reply, Refused) and reply.code == "wrong-session"


def unexpected(request: Message, reply: Reply) -> str:
    """A reply that is not what was asked for."""
    asked = type(request).__name__
    if is_forgotten(reply):
        return (
            "the device no longer knows this conversation: it has restarted, another program has "
            "opened one, or the plug has been moved to another device. Connect again; its program "
            "is read back first"
        )
    if isinstance(reply, Refused):
        remedy = REMEDIES.get(reply.code, "")
        return f"refused {asked}: {reply.code}, {reply.detail}{remedy}"
    return f"answered {asked} with {type(reply).__name__}"


def silence(request: Message, awaited: Milliseconds, counts: LinkCounts, why: str) -> str:
    """No reply, though it was asked for often enough.

    ``why``: why what came instead was of no use; empty if nothing came.
    """
    dropped = ""
    if counts.dropped:
        told = ", ".join(f"{number} {name}" for name, number in counts.dropped.items())
        dropped = f" Dropped since this host connected: {told}."
    if counts.forged or counts.replayed:
        dropped += " Somebody may be on the line."
    asked = f"({type(request).__name__} was sent and {awaited} ms awaited each time)"
    if why:
        return (
            f"answers, but with nothing that can be used {asked}; of what came last: {why}. Check "
            "the baud rate and the cable; in bring-up, the frame against docs/protocol.md: "
            f"`neuraxis capture record` shows each.{dropped}"
        )
    return (
        f"does not answer {asked}. Check that it is powered, that the port and the baud rate are "
        f"right and that no other program uses it.{dropped}"
    )
