"""What a serial number may look like, wherever a person writes one."""

from device_profiles.errors import UsageError

LONGEST = 64
"""Characters; a device's `Identity` can say no longer one."""


def check_serial_number(text: str) -> str:
    """The serial number itself; raises UsageError for one too long or not printable."""
    if not 1 <= len(text) <= LONGEST:
        raise UsageError(f"a serial number has 1 to {LONGEST} characters")
    if not text.isprintable():
        raise UsageError(f"the serial number {text!r} holds an invisible character")
    return text
