"""A group of commands as this program has them: without arguments they show their help, and no
option may be given twice."""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from hil.commands.shell import print_error
from hil.exit_codes import USAGE


class OnceCommand(TyperCommand):
    """A command that asks which one is meant where an option stands twice.

    Else the last one would win in silence: two doses, two devices.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments; flags may be repeated, and what takes many values."""
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        for param in given:
            takes_one = isinstance(param, TyperOption) and not (param.is_flag or param.multiple)
            if takes_one and given.count(param) > 1:
                ctx.fail(f"{param.opts[-1]} stands here more than once: which one is meant?")
        return super().parse_args(ctx, args)


class Group(TyperGroup):
    """A group that answers a program in JSON even where it was asked wrongly."""

    def main(self, args: Sequence[str] | None = None, *more: Any, **others: Any) -> Any:
        """Runs a command line, and ends the process."""
        given = sys.argv[1:] if args is None else list(args)
        try:
            return super().main(given, *more, **others)
        except SystemExit as end:
            # A usage error was told in text already; typer has no public name for its class.
            told = getattr(end.__context__, "format_message", None)
            asks = "--format=json" in given or ("--format", "json") in pairwise(given)
            if told is not None and asks:
                print_error(USAGE, told())
            raise


class Commands(typer.Typer):
    """A group of commands."""

    def __init__(self, **more: Any) -> None:
        super().__init__(cls=Group, no_args_is_help=True, rich_markup_mode=None, **more)

    def command(self, name: str | None = None, **more: Any) -> Callable[..., Any]:
        """Adds a command."""
        return super().command(name, cls=OnceCommand, **more)
