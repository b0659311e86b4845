"""`storm --shrink`: a failing plan is made smaller, and kept whatever comes in between."""

import os
import shlex
from pathlib import Path

from rich.text import Text

from device_profiles.errors import UsageError
from hil.commands.shell import errors, tell
from hil.storm.plan import Plan
from hil.storm.shrink import shrink


def folder_for(save: Path) -> Path:
    """The folder for smaller plans, made if need be: known before hours of storms are run."""
    try:
        save.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--save {save} cannot be a folder: {error.strerror}") from error
    if not os.access(save, os.W_OK | os.X_OK):
        raise UsageError(f"--save {save}: nothing can be written there; name another folder")
    return save


def shrink_and_save(plan: Plan, folder: Path) -> Path | None:
    """Where the smaller plan is; None if it could not be saved, and was printed instead.

    A signal ends it with the smallest plan that was found until then.
    """
    console, small = errors(), plan

    def told(now: Plan) -> None:
        nonlocal small
        small = now
        console.print(Text(f"  {len(now.acts)} acts"))

    console.print(Text(f"shrinking seed {plan.seed}: {len(plan.acts)} acts"))
    try:
        shrink(plan, told)
    except KeyboardInterrupt:
        console.print(Text("interrupted: the smallest plan so far is kept, and fails as well"))
    try:
        path = _saved(small, folder)
    except OSError as error:
        tell(f"the smaller plan cannot be saved in {folder}: {error.strerror or error}; here it is")
        console.print(Text(small.text()))
        return None
    console.print(Text(f"{len(small.acts)} acts are left; again: {again(path)}"))
    return path


def again(path: Path) -> str:
    """The command that runs a plan, to be pasted into a shell."""
    return f"neuraxis storm --plan {shlex.quote(str(path))}"


def _saved(plan: Plan, folder: Path) -> Path:
    """Puts it under a name of its own: people edit the plans that lie there."""
    name, count = f"storm-{plan.family}-{plan.seed}", 1
    path = folder / f"{name}.yaml"
    while path.exists():
        count += 1
        path = folder / f"{name}.{count}.yaml"
    file = path.open("x", encoding="utf-8")
    try:
        with file:
            file.write(plan.text())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
