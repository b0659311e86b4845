"""Small changes to shipped functions, one at a time: what a slip of the hand would do to them.

No texts are changed: a message that reads otherwise is no guard that fails. What is changed is what
decides: comparisons, sums, numbers, conditions, what is returned, what is done at all, and which
guards and which facts a list or a `replace` names.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]

FILES = (
    "safety/kernel.py",
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


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where, by file, function and the line's text, and what becomes of it.

    ``code`` is the changed function's, or the new value of a module's constant as text; ``places``
    are the statements, by file and line, that tell which tests can notice.
    """

    file: str
    function: str
    line: str
    change: str
    code: CodeType | str
    places: tuple[tuple[str, int], ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What names it for as long as the line stays as it is."""
        return self.file, self.function, self.line, self.change

    @property
    def turn(self) -> bytes:
        """Its place in an order that mixes files and kinds, the same every time."""
        return sha256(repr(self.key).encode()).digest()


def mutants_of(file: str) -> list[Mutant]:
    """Every mutant of a file's functions and constants, each once."""
    source = (ROOT / file).read_text("utf-8")
    tree = ast.parse(source)
    lines = source.splitlines()
    found: dict[tuple[str, str, str, str], Mutant] = {}
    for name, function in functions_of(tree):
        for statement, node, change in _changes(function):
            code = _compiled(tree, file, function, name)
            line = lines[node.lineno - 1].strip()
            mutant = Mutant(file, name, line, change, code, ((file, statement),))
            found.setdefault(mutant.key, mutant)
    for name, constant in _constants_of(tree):
        assert constant.value is not None
        for node, change in _in_node(constant, constant.value):
            line = lines[node.lineno - 1].strip()
            mutant = Mutant(file, name, line, change, ast.unparse(constant.value), _uses_of(name))
            found.setdefault(mutant.key, mutant)
    return list(found.values())


def _constants_of(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """What a module calls by a name in capitals."""
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) if name.isupper():
                yield name, node
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()) if name.isupper():
                yield name, node


@cache
def _uses_of(name: str) -> tuple[tuple[str, int], ...]:
    """The statements of all files that mention a constant."""
    found = []
    for file in FILES:
        for _, function in functions_of(ast.parse((ROOT / file).read_text("utf-8"))):
            statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
            found += [(file, one.lineno) for one in statements if _mentions(one, name)]
    return tuple(dict.fromkeys(found))


def _mentions(statement: ast.stmt, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(statement))


def functions_of(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Each function and method with its qualified name; what is nested belongs to the outer one."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions_of(node, f"{within}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{within}{node.name}", node  # type: ignore[misc]


def _compiled(tree: ast.Module, file: str, function: ast.AST, name: str) -> CodeType:
    """The code of a function in the tree as it is now."""
    module = compile(ast.fix_missing_locations(tree), str(ROOT / file), "exec")
    code = find_code(module, name)
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
    number = statement.lineno
    if _can_be_left_out(statement):
        for change in _swapped(parent, statement, ast.copy_location(ast.Pass(), statement)):
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
        for changed in _instead_of(parent, node):
            for change in _swapped(parent, node, changed):
                yield node, change
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for one in list(value) if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST):
                yield from _in_node(node, one)


def _instead_of(parent: ast.AST, node: ast.expr) -> Iterator[ast.expr]:
    """What may stand in an expression's place by a slip."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                ops[index] = COMPARISONS[type(op)]()
                yield new
                ops[index] = op
        case ast.BinOp(op=op) if type(op) in SUMS:
            new.op = SUMS[type(op)]()
            yield new
        case ast.BoolOp(op=op):
            new.op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield new
        case ast.UnaryOp(op=ast.Not()):
            yield new.operand
        case ast.UnaryOp(op=ast.USub()):
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
        case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in COPIES:
            for index in range(len(keywords)):
                less = copy.deepcopy(new)
                del less.keywords[index]
                yield less
        case ast.List(elts=items) | ast.Tuple(elts=items) if _is_gathered(parent, items):
            for index in range(len(items)):
                shorter = copy.deepcopy(new)
                del shorter.elts[index]
                yield shorter
        case _:
            pass
    yield from _in_its_place(parent, node)


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
    is_table = isinstance(parent, ast.Assign | ast.AnnAssign) and len(items) > 1
    return is_table or any(isinstance(item, ast.Starred) for item in items)


def _swapped(parent: ast.AST, old: ast.AST, new: ast.AST) -> Iterator[str]:
    """Puts one node in another's place, says so, and takes it back."""
    ast.copy_location(new, old)
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
            yield _words(old, new)
            setattr(parent, name, old)
            return
        if isinstance(value, list):
            for index, one in enumerate(value):
                if one is old:
                    value[index] = new
                    yield _words(old, new)
                    value[index] = old
                    return


def _words(old: ast.AST, new: ast.AST) -> str:
    return f"{ast.unparse(old)} -> {ast.unparse(new)}"
