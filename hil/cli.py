"""The entry point of the command `neuraxis`: signals and output first, the program after them."""

import sys

from hil import early


def main() -> None:
    """Runs a command to its exit code; the unforeseen is exit code 1."""
    early.begin()
    # Half a second and more: a stop that is interrupted in it is told, as everything is.
    from rich.text import Text

    from hil.app import app
    from hil.commands.shell import errors
    from hil.exit_codes import INTERNAL_ERROR
    from hil.streams import make_patient

    make_patient()
    early.loaded()
    try:
        app()
    except Exception as error:
        # Nobody foresaw this: the traceback for us, a sentence for the person, and code 1.
        errors().print_exception()
        errors().print(Text(f"neuraxis: internal error: {error!r}"))
        sys.exit(INTERNAL_ERROR)
    finally:
        early.over()
        if sys.stdout is not None:
            sys.stdout.flush()


if __name__ == "__main__":
    main()
