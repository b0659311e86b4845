"""Small changes to shipped functions, one at a time: what a slip of the hand would do to them.

No texts are changed: a message that reads otherwise is no guard that fails. What is changed is what
decides: comparisons, sums, numbers, conditions, what is returned, what is done at all, and which
guards and which facts a list or a `replace` names.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[2]

FILES = (
    "safety/kernel.py",
    "safety/judgement.py",
    "safety/fold.py",
    "safety/doubt.py",
    "safety/state.py",
    "safety/gate.py",
    "safety/dose.py",
    "safety/rules_windows.py",
    "safety/rules_open.py",
    "safety/journal.py",
    "safety/journal_format.py",
    "safety/opening.py",
    "safety/anchor.py",
    "safety/checkpoint.py",
    "safety/disk.py",
)
"""The kernel, what it decides by, and the journal."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
SUMS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}
NAMES = {"max": "min", "min": "max", "any": "all", "all": "any"}
COPIES = ("replace", "_replace")
"""Calls whose keywords say what changes: each is left out once."""
Place = tuple[str, int]
"""A statement by its file and line."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where, by file, function and the line's text, and what becomes of it.

    A change that one line of a function takes in several places bears its number there.

    ``code`` is the changed function's, or the new value of a module's constant as text; ``places``
    are the statements, by file and line, that tell which tests can notice.
    """

    file: str
    function: str
    line: str
    change: str
    code: CodeType | str
    places: tuple[Place, ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it for as long as the line stays as it is."""
        return self.file, self.function, self.line, self.change

    @property
    def turn(self) -> bytes:
        """Its place in an order that mixes files and kinds, the same every time."""
        return sha256(repr(self.key).encode()).digest()


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file's functions and constants, each with a key of its own."""
    source = (ROOT / file).read_text("utf-8")
    tree = ast.parse(source)
    lines = source.splitlines()
    found: list[Mutant] = []
    seen = Counter[tuple[str, str, str]]()

    def take(name: str, node: ast.expr | ast.stmt, change: str, *rest: Any) -> None:
        line = lines[node.lineno - 1].strip()
        seen[name, line, change] += 1
        which = seen[name, line, change]
        change = change if which == 1 else f"{change} (no. {which})"
        found.append(Mutant(file, name, line, change, *rest))

    for name, function in functions_of(tree):
        for statement, node, change in _changes(function):
            code = _compiled(file, function, name)
            take(name, node, change, code, ((file, statement),))
    for name, constant in _constants_of(tree):
        assert constant.value is not None
        uses = _uses().get(name, ())
        if uses:  # else it is a default, which is read before anything can change it
            for node, change in _in_node(constant, constant.value):
                take(name, node, change, ast.unparse(constant.value), uses)
    return found


def _constants_of(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """What a module calls by a name in capitals."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
                yield name, node
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()) if name.isupper():
                yield name, node


@cache
def _uses() -> dict[str, tuple[Place, ...]]:
    """The statements of all the judge's functions by the names that they mention."""
    found: dict[str, dict[Place, None]] = {}
    for path in sorted((ROOT / "safety").glob("*.py")):
        for _, function in functions_of(ast.parse(path.read_text("utf-8"))):
            for statement in ast.walk(function):
                if isinstance(statement, ast.stmt):
                    for node in ast.walk(statement):
                        if isinstance(node, ast.Name):
                            place = f"safety/{path.name}", statement.lineno
                            found.setdefault(node.id, {})[place] = None
    return {name: tuple(places) for name, places in found.items()}


def functions_of(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Each function and method with its qualified name; what is nested belongs to the outer one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{within}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{within}{node.name}", node  # type: ignore[misc]


def _compiled(file: str, function: ast.FunctionDef, name: str) -> CodeType:
    """The code of a function as it is now, within classes of its own classes' names."""
    *classes, _ = name.split(".")
    whole: ast.stmt = function
    for one in reversed(classes):
        whole = ast.ClassDef(one, bases=[], keywords=[], body=[whole], decorator_list=[])
    module = ast.fix_missing_locations(ast.Module([whole], type_ignores=[]))
    code = find_code(compile(module, str(ROOT / file), "exec"), name)
    assert code is not None, name
    return code


def find_code(code: CodeType, name: str) -> CodeType | None:
    """The code of a qualified name within a module's."""
    for constant in code.co_consts:
        if not isinstance(constant, CodeType):
            continue
        if constant.co_qualname == name:
            return constant
        if name.startswith(f"{constant.co_qualname}."):
            return find_code(constant, name)
    return None


# --- changes, made in place and taken back --------------------------------------------------------


def _changes(function: ast.FunctionDef) -> Iterator[tuple[int, ast.expr | ast.stmt, str]]:
    """Makes one change after another in the tree; each holds until the next is asked for."""
    body = function.body
    if _is_docstring(body[0]):
        body = body[1:]
    for statement in body:
        yield from _in_statement(function, statement)


def _in_statement(
    parent: ast.AST, statement: ast.stmt
) -> Iterator[tuple[int, ast.expr | ast.stmt, str]]:
    if isinstance(statement, ast.Assert | ast.Import | ast.ImportFrom | ast.Pass):
        return
    if _is_never_reached(statement):
        return
    number = statement.lineno
    if _can_be_left_out(statement):
        for change in _swapped(parent, statement, ast.Pass(), f"{ast.unparse(statement)} -> pass"):
            yield number, statement, change
    for child in _parts(statement):
        if isinstance(child, ast.stmt):
            yield from _in_statement(statement, child)
        elif isinstance(child, ast.excepthandler | ast.match_case):
            guard = getattr(child, "guard", None)
            if guard is not None:
                yield from ((number, node, change) for node, change in _in_node(child, guard))
            block: list[ast.stmt] = getattr(child, "body")  # noqa: B009
            for one in block:
                yield from _in_statement(child, one)
        elif isinstance(child, ast.expr):
            for node, change in _in_node(statement, child):
                yield number, node, change
        elif isinstance(child, ast.withitem):
            for node, change in _in_node(child, child.context_expr):
                yield number, node, change


def _is_never_reached(statement: ast.stmt) -> bool:
    """Whether mypy proves that nothing gets to a statement."""
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True
        case _:
            return False


def _parts(statement: ast.stmt) -> Iterator[ast.AST]:
    """What a statement holds, without annotations, decorators and a nested docstring."""
    for name, value in ast.iter_fields(statement):
        if name in ("annotation", "returns", "decorator_list", "args", "type_params"):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST) and not _is_docstring(one):
                yield one


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _can_be_left_out(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()):
            return False  # the body of a Protocol's method
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return True
        case _:
            return False


def _in_node(parent: ast.AST, node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """The changes of one expression and of all within it."""
    if isinstance(node, ast.JoinedStr):
        return  # a text
    if isinstance(node, ast.expr):
        for changed, words in _instead_of(parent, node):
            for change in _swapped(parent, node, changed, words):
                yield node, change
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for one in list(value) if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield from _in_node(node, one)


def _instead_of(parent: ast.AST, node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """What may stand in an expression's place by a slip, and in words."""
    for changed in (*_changed(node), *_in_its_place(parent, node)):
        yield changed, f"{ast.unparse(node)} -> {ast.unparse(changed)}"
    for left, part in _with_less(parent, node):
        yield left, f"{ast.unparse(part)} left out"


def _changed(node: ast.expr) -> Iterator[ast.expr]:
    """Another operator, number or name."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                other = copy.deepcopy(new)
                other.ops[index] = COMPARISONS[type(op)]()
                yield other
        case ast.BinOp(op=op) if type(op) in SUMS:
            new.op = SUMS[type(op)]()
            yield new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield new.operand
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1)
            if value > 1:
                yield ast.Constant(value - 1)
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            new.func = ast.Name(NAMES[name], ast.Load())
            yield new
        case _:
            pass


def _with_less(parent: ast.AST, node: ast.expr) -> Iterator[tuple[ast.expr, ast.AST]]:
    """The same without one of its parts, and that part: a condition, a guard, a fact."""
    match node:
        case ast.BoolOp(values=parts):
            where = "values"
        case ast.Call(func=ast.Name(id=name), keywords=parts) if name in COPIES:
            where = "keywords"
        case ast.List(elts=parts) | ast.Tuple(elts=parts) if _is_gathered(parent, parts):
            where = "elts"
        case _:
            return
    for index, part in enumerate(parts):
        less = copy.deepcopy(node)
        rest = getattr(less, where)
        del rest[index]
        yield rest[0] if where == "values" and len(rest) == 1 else less, part


def _in_its_place(parent: ast.AST, node: ast.expr) -> Iterator[ast.expr]:
    """What may stand there because of where it stands: a condition turned, nothing returned."""
    is_tested = isinstance(parent, ast.If | ast.While | ast.IfExp) and parent.test is node
    is_filter = isinstance(parent, ast.comprehension) and node in parent.ifs
    if (is_tested or is_filter) and not isinstance(node, ast.Compare | ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), copy.deepcopy(node))
    if isinstance(parent, ast.Return) and not _is_none(node):
        yield ast.Constant(None)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_gathered(parent: ast.AST, items: list[ast.expr]) -> bool:
    """Whether a list is made of other lists, or is a module's own table."""
    match parent:
        case ast.Assign(targets=[ast.Name()]) | ast.AnnAssign(target=ast.Name()):
            is_table = len(items) > 1
        case _:
            is_table = False
    return is_table or any(isinstance(item, ast.Starred) for item in items)


def _swapped(parent: ast.AST, old: ast.AST, new: ast.AST, words: str) -> Iterator[str]:
    """Puts one node in another's place, says so, and takes it back."""
    ast.copy_location(new, old)
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
            yield words
            setattr(parent, name, old)
            return
        if isinstance(value, list):
            for index, one in enumerate(value):
                if one is old:
                    value[index] = new
                    yield words
                    value[index] = old
                    return
