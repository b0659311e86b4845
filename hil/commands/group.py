"""A group of commands as this program has them: without arguments they show their help, and no
option may be given twice."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption


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


class Commands(typer.Typer):
    """A group of commands."""

    def __init__(self, **more: Any) -> None:
        super().__init__(no_args_is_help=True, rich_markup_mode=None, **more)

    def command(self, name: str | None = None, **more: Any) -> Callable[..., Any]:
        """Adds a command."""
        return super().command(name, cls=OnceCommand, **more)
