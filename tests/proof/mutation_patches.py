"""Puts changed code into functions of loaded modules: a mutant's, or one that is listened to."""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from .mutants import Mutant, find_code, functions_of

ROOT = Path(__file__).parents[2]
LISTENER = "_passed_by_a_test"


def module_of(file: str) -> ModuleType:
    """The loaded module of a file."""
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def apply(mutant: Mutant) -> None:
    """From now on this process runs the mutant."""
    module = module_of(mutant.file)
    if isinstance(mutant.code, CodeType):
        function = function_of(module, mutant.function)
        assert function is not None, mutant.function
        function.__code__ = mutant.code
        return
    name, value = mutant.function, eval(mutant.code, dict(vars(module)))
    before = vars(module)[name]
    for other in list(sys.modules.values()):
        if getattr(other, "__dict__", {}).get(name) is before:
            setattr(other, name, value)


def function_of(module: ModuleType, name: str) -> FunctionType | None:
    """The function behind a qualified name, whatever decorates it."""
    found: Any = module
    for part in name.split("."):
        found = vars(found).get(part)
        if isinstance(found, property):
            found = found.fget
        elif isinstance(found, staticmethod | classmethod):
            found = found.__func__
        while hasattr(found, "__wrapped__"):
            found = found.__wrapped__
    return found if isinstance(found, FunctionType) else None


def passing_of(file: str, note: Callable[[tuple[str, int]], object]) -> None:
    """From now on every statement of a file's functions is noted when it is passed."""
    module = module_of(file)
    setattr(module, LISTENER, note)
    path = ROOT / file
    tree = ast.parse(path.read_text("utf-8"))
    names = []
    for name, function in functions_of(tree):
        names.append(name)
        _listen(function, file)
    code = compile(ast.fix_missing_locations(tree), str(path), "exec")
    for name in names:
        found = function_of(module, name)
        listening = find_code(code, name)
        if found is not None and listening is not None:
            found.__code__ = listening


def _listen(node: ast.AST, file: str) -> None:
    for body in _bodies(node):
        for position in range(len(body) - 1, -1, -1):
            statement = body[position]
            _listen(statement, file)
            call = ast.parse(f"{LISTENER}(({file!r}, {statement.lineno}))").body[0]
            body.insert(position, ast.copy_location(call, statement))


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """The blocks of statements within a node."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield part.body
