"""The input files of a recorded command, laid out anew, and others in their place."""

from collections.abc import Sequence
from pathlib import Path

from device_profiles.document import LARGEST_FILE
from device_profiles.errors import UsageError
from device_profiles.plain_file import not_plain
from hil.capture.reading import Capture


def arguments_of(capture: Capture, files: Sequence[Path], folder: Path) -> list[str]:
    """The recorded command with its files laid out in ``folder``; ``files`` instead of recorded
    ones of the same name. Raises UsageError."""
    laid: dict[str, str] = {}
    left = list(files)
    for number, (name, text) in enumerate(capture.began.files.items()):
        instead = next((one for one in left if one.name == Path(name).name), None)
        if instead is not None:
            left.remove(instead)
            text = _text_of(instead)
        path = folder / "files" / str(number) / Path(name).name
        path.parent.mkdir(parents=True)
        path.write_text(text, "utf-8")
        laid[name] = str(path)
    if left:
        names = ", ".join(Path(name).name for name in capture.began.files) or "no file"
        raise UsageError(f"{left[0]} takes no file's place: the capture was given {names}")
    return [_with_files(one, laid) for one in capture.began.command]


def _text_of(path: Path) -> str:
    try:
        if (kind := not_plain(path)) is not None:
            raise UsageError(f"{path} is {kind}: name a file that is to be read instead")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    if len(data) > LARGEST_FILE:
        raise UsageError(
            f"{path} is larger than {LARGEST_FILE >> 20} MiB: a therapy takes a few kilobytes"
        )
    return text


def _with_files(argument: str, laid: dict[str, str]) -> str:
    """An argument of a command line, its file exchanged if it names one."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--") and value in laid:
        return f"{option}={laid[value]}"
    return laid.get(argument, argument)
