"""The one tree of exceptions; the command line turns each branch into an exit code."""

from device_profiles.diagnostics import Finding


class NeuraxisError(Exception):
    """Anything neuraxis raises on purpose. The text is a sentence for the person at the bench."""


class UsageError(NeuraxisError):
    """A call, a URL or a file that cannot be understood."""


class Refused(NeuraxisError):
    """Safety said no; nothing was sent. ``findings`` say which rules, values and limits."""

    def __init__(self, text: str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(text)
        self.findings = findings


class LinkError(NeuraxisError):
    """The line to the device could not be opened, is lost, or stays silent."""


class LinkLost(LinkError):
    """The line was open and is gone."""


class DeviceSilent(LinkError):
    """The line is open but the device does not answer."""


class OwnerError(LinkError):
    """Another process owns the device, or the owner that was asked is gone."""


class DeviceFault(NeuraxisError):
    """The device refused, reports a fault, or is not what it should be."""


class Uncertain(NeuraxisError):
    """It is not known whether the device acted: UNCERTAIN, counted as delivered."""
