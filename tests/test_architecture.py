"""The direction of imports and the budgets of the code, read from the source.

Rooms are the packages and modules directly below `sidecar`; `ROOMS` says which may
import which, `OWNERS` which of them may import a foreign package. Each check takes
`Module`s and gives one line an offence, naming the offender and the figure; the second
half of this file feeds each of them a text that offends.
"""

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import pytest

SOURCE = Path(__file__).parents[1] / "sidecar"
GENERATED = "_pb"

# A room → the rooms that it may import, beside itself.
EVERY = {"core", "kafka", "formats", "rpc", "ops"}
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "kafka": {"core"},
    "formats": {"core"},
    "ops": {"core", "formats"},
    "registry": {"formats"},
    "rpc": {"core", "formats", GENERATED},
    GENERATED: set(),
    "demo": set(),
    "follower": EVERY | {"registry"},
    "": {"embed", "ops"},
    "app": EVERY | {"follower"},
    "embed": EVERY | {"follower"},
    "cli": EVERY | {"follower", "app", "demo", GENERATED},
    "start": {"cli"},
}
# A foreign package → the rooms that may import it.
OWNERS = {
    "aiokafka": {"kafka"},
    "grpc": {"rpc", GENERATED},
    "grpc_health": {"rpc"},
    "grpc_reflection": {"rpc"},
    "grpc_status": {"rpc"},
    "google.rpc": {"rpc"},
    "google.protobuf": {"rpc", "cli", "formats", GENERATED},
    "confluent_kafka": {"demo", "registry"},
    "fastavro": {"formats"},
    "airportsdata": {"demo"},
}
# What brings I/O, a clock, chance or the environment with it.
IMPURE = {
    *("asyncio", "concurrent", "contextvars", "ctypes", "datetime", "fcntl", "http", "io"),
    *("logging", "mmap", "multiprocessing", "os", "pathlib", "queue", "random", "sched"),
    *("secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl"),
    *("subprocess", "tempfile", "threading", "time", "urllib"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

LINES, FUNCTION_LINES, NESTING, ATTRIBUTES = 400, 50, 3, 8
OWN_LEVELS, OWN_LEVELS_OF_ERRORS = 1, 3

# Classes that mirror something with more parts than our own may have.
MANY_ATTRIBUTES = {
    "core.events.Event": "what a change is told as, weighed once for all who are told",
    "core.counters.Counters": "a plain list of counts",
    "core.served.Definition": "mirrors a table's section of the configuration file",
    "ops.settings.KafkaSettings": "mirrors the kafka section of the configuration file",
    "ops.settings.TableSettings": "mirrors a table's section of the configuration file",
    "ops.settings.Limits": "mirrors the limits section of the configuration file",
    "kafka.settings.KafkaSettings": "mirrors what librdkafka's users know as its properties",
}


@dataclass(frozen=True)
class Module:
    """One module: its dotted name below `sidecar` ("" is the package itself), and its text."""

    name: str
    text: str
    package: bool = False

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


def modules() -> list[Module]:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        found.append(Module(name, path.read_text(encoding="utf-8"), package))
    return found


ALL = modules()
OURS = [module for module in ALL if module.room != GENERATED]


# Imports


def imports(module: Module) -> Iterator[tuple[int, str, str]]:
    """Line, dotted name, and the name taken from it; relative ones made absolute."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["sidecar", *filter(None, module.name.split("."))]
                above = here[: len(here) - node.level + module.package]
                base = ".".join([*above, *filter(None, [base])])
            yield from ((node.lineno, base, alias.name) for alias in node.names)


def wrong_directions(module: Module) -> Iterator[str]:
    """Imports of a room that this one may not know."""
    if module.room and module.room not in ROOMS:
        yield f"{module.name}: room {module.room!r} is not listed; say what it may import"
        return
    allowed = ROOMS.get(module.room, set()) | {module.room}
    for line, dotted, taken in imports(module):
        if dotted.partition(".")[0] != "sidecar":
            continue
        room = [*dotted.split("."), taken][1]
        if room in ROOMS and room not in allowed:
            yield f"{module.name}:{line} imports {room}; {module.room} may import {sorted(allowed)}"


def foreign_packages(module: Module) -> Iterator[str]:
    """Imports of a foreign package that belongs to another room."""
    for line, dotted, taken in imports(module):
        for package, owners in OWNERS.items():
            whole = f"{dotted}.{taken}."
            if whole.startswith(f"{package}.") and module.room not in owners:
                yield f"{module.name}:{line} imports {package}, which only {sorted(owners)} may"


def impurities(module: Module) -> Iterator[str]:
    """What the core must not touch."""
    if module.room != "core":
        return
    for line, dotted, _ in imports(module):
        top = dotted.partition(".")[0]
        if top in IMPURE or top not in {*sys.stdlib_module_names, "sidecar"}:
            yield f"{module.name}:{line} imports {top}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in IMPURE_CALLS:
                yield f"{module.name}:{node.lineno} calls {node.func.id}"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"{module.name}:{node.lineno} is asynchronous"


# Budgets


def long_modules(module: Module) -> Iterator[str]:
    count = len(module.text.splitlines())
    if count > LINES:
        yield f"{module.name}: {count} lines, {LINES} are allowed"


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, less the docstring: prose is welcome."""
    count = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        count -= (first.end_lineno or 0) - first.lineno + 1
    return count


def long_functions(module: Module) -> Iterator[str]:
    for function in functions(module):
        if length(function) > FUNCTION_LINES:
            yield (
                f"{module.name}:{function.lineno} {function.name}: {length(function)} lines "
                f"without its docstring, {FUNCTION_LINES} are allowed"
            )


def nesting(block: list[ast.stmt]) -> int:
    """How deep the blocks in a block go.

    Each `if`, `for`, `while`, `with` and `match` is one level; an `elif` is no deeper
    than its `if`, and a `case` no deeper than its `match`. The body of a `try` is as deep
    as the `try` itself, for nothing is decided there; an `except` is a branch and counts.
    Functions and classes inside count for themselves.
    """
    return max(map(_depth, block), default=0)


def _depth(statement: ast.stmt) -> int:
    match statement:
        case ast.If(body=body, orelse=[ast.If() as other]):
            return max(1 + nesting(body), _depth(other))
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            return 1 + nesting([*statement.body, *statement.orelse])
        case ast.With() | ast.AsyncWith():
            return 1 + nesting(statement.body)
        case ast.Match():
            return 1 + max(nesting(case.body) for case in statement.cases)
        case ast.Try() | ast.TryStar():
            caught = [1 + nesting(handler.body) for handler in statement.handlers]
            around = [*statement.body, *statement.orelse, *statement.finalbody]
            return max([nesting(around), *caught])
    return 0


def deep_functions(module: Module) -> Iterator[str]:
    for function in functions(module):
        depth = nesting(function.body)
        if depth > NESTING:
            yield (
                f"{module.name}:{function.lineno} {function.name}: {depth} levels of blocks, "
                f"{NESTING} are allowed"
            )


def classes(module: Module) -> Iterator[ast.ClassDef]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            yield node


def attributes(node: ast.ClassDef) -> set[str]:
    """Names of a class's state: declared fields, slots, and what any method sets on itself."""
    names: set[str] = set()
    for part in node.body:
        match part:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind):
                if "ClassVar" not in ast.unparse(kind):
                    names.add(name)
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                slots = ast.literal_eval(value)
                names.update([slots] if isinstance(slots, str) else slots)
            case ast.FunctionDef(args=ast.arguments(args=[first, *_])):
                names.update(set_on(first.arg, part))
            case ast.AsyncFunctionDef(args=ast.arguments(args=[first, *_])):
                names.update(set_on(first.arg, part))
    return names


def set_on(name: str, function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attr, ctx=ast.Store()):
                if owner == name:
                    yield attr


def large_classes(module: Module) -> Iterator[str]:
    for node in classes(module):
        count = len(attributes(node))
        if count > ATTRIBUTES and f"{module.name}.{node.name}" not in MANY_ATTRIBUTES:
            yield (
                f"{module.name}:{node.lineno} {node.name}: {count} attributes, "
                f"{ATTRIBUTES} are allowed"
            )


def lost_cancellations(module: Module) -> Iterator[str]:
    """`asyncio.wait_for` loses, in Python 3.11, one that comes as its wait is over."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).endswith("wait_for"):
            yield f"{module.name}:{node.lineno}: wait_for, not asyncio.timeout"


def without_docstring(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield f"{module.name or 'sidecar'}: no docstring"


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that a module itself defines at its top."""
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Assign() | ast.AnnAssign():
                yield from (name.id for name in ast.walk(node) if is_set(name))


def is_set(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return list(ast.literal_eval(value))
    return None


def unlisted_names(module: Module) -> Iterator[str]:
    """Public names need `__all__`, and what it lists must be there."""
    names, own = listed(module.tree), set(defined(module.tree))
    public = sorted(name for name in own if not name.startswith("_"))
    if names is None:
        if public:
            yield f"{module.name}: no __all__, but it defines {', '.join(public)}"
        return
    missing = sorted(set(names) - own - set(imported(module.tree)))
    if missing:
        yield f"{module.name}: __all__ lists {', '.join(missing)}, which is not there"


Family = dict[tuple[str, str], list[tuple[str, str]]]


def family(sources: list[Module]) -> Family:
    """(module, class) → its bases, as (module, class) each; foreign ones have module ""."""
    known: Family = {}
    for module in sources:
        own = {node.name for node in classes(module)}
        names = {name: (module.name, name) for name in own}
        for _, dotted, taken in imports(module):
            top, _, rest = dotted.partition(".")
            if top == "sidecar":
                names[taken] = (rest, taken)
        for node in classes(module):
            bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
            known[module.name, node.name] = [names.get(base, ("", base)) for base in bases]
    return known


def lineage(known: Family, key: tuple[str, str]) -> int:
    """How many of our own classes stand above one."""
    own = [base for base in known.get(key, []) if base in known]
    return 1 + max(lineage(known, base) for base in own) if own else 0


def is_error(known: Family, key: tuple[str, str]) -> bool:
    if key not in known:
        kind = getattr(builtins, key[1], None)
        return isinstance(kind, type) and issubclass(kind, BaseException)
    return any(is_error(known, base) for base in known[key])


def deep_classes(sources: list[Module]) -> Iterator[str]:
    known = family(sources)
    for key in known:
        allowed = OWN_LEVELS_OF_ERRORS if is_error(known, key) else OWN_LEVELS
        if lineage(known, key) > allowed:
            yield (
                f"{key[0]} {key[1]}: {lineage(known, key)} levels of our own classes above it, "
                f"{allowed} allowed"
            )


# The code holds them


ONE_BY_ONE = [
    wrong_directions,
    foreign_packages,
    impurities,
    long_modules,
    long_functions,
    deep_functions,
    large_classes,
    lost_cancellations,
    without_docstring,
    unlisted_names,
]


@pytest.mark.parametrize("check", ONE_BY_ONE, ids=lambda check: check.__name__)
def test_every_module_holds_to(check):
    assert [offence for module in OURS for offence in check(module)] == []


def test_inheritance_of_our_own_is_one_level_and_of_errors_three():
    assert list(deep_classes(OURS)) == []


@pytest.mark.parametrize("check", [wrong_directions, foreign_packages])
def test_generated_modules_import_nothing_of_ours(check):
    generated = [module for module in ALL if module.room == GENERATED]
    assert generated
    assert [offence for module in generated for offence in check(module)] == []


def test_all_of_the_source_was_read():
    assert {module.room for module in OURS} >= {"core", "kafka", "rpc", "ops", "cli", "app"}
    assert len(list(imports(next(each for each in OURS if each.name == "core.view")))) > 5


def test_every_exception_is_still_needed():
    large = {
        f"{module.name}.{node.name}"
        for module in OURS
        for node in classes(module)
        if len(attributes(node)) > ATTRIBUTES
    }
    assert set(MANY_ATTRIBUTES) == set(MANY_ATTRIBUTES) & large


# The checks can fail


def body(depth, line):
    """A function whose last line stands so many levels deep."""
    heads = ["if a:", "for b in c:", "while d:", "with e:", "if f:"][:depth]
    lines = ["def f():", *heads, line]
    return "\n".join("    " * indent + text for indent, text in enumerate(lines))


def fields(number, form="    a{}: int\n"):
    return "".join(form.format(each) for each in range(number))


SET_LATER = """
class A:
    b: int
    __slots__ = "c"
    def later(self):
        self.d, self.e = 1, 2
        self.f += 1
        self.g: int = 1
        self.h = self.i = self.j = 0
"""
METHOD = """
class A:
    async def f(self):
        if a:
            for b in c:
                with d:
                    while e: pass
"""
FRAMED = """
def f():
    if a:
        for b in c:
            while d:
                try: x()
                finally: y()
"""
INNER = """
def f():
    if a:
        while b:
            def g():
                if c:
                    if d: pass
"""

OFFENCES = [
    (wrong_directions, "core.table", "from ..kafka import wire", "imports kafka"),
    (wrong_directions, "core.table", "from sidecar.kafka.wire import FETCH", "imports kafka"),
    (wrong_directions, "core.table", "import sidecar.kafka.wire", "imports kafka"),
    (wrong_directions, "core.table", "def f():\n    from .. import follower", "imports follower"),
    (wrong_directions, "kafka.reader", "from ..ops.logs import event", "imports ops"),
    (wrong_directions, "ops.status", "from ..rpc import server", "imports rpc"),
    (wrong_directions, "rpc.server", "from ..kafka import wire", "imports kafka"),
    (wrong_directions, "formats.text", "from .._pb import cache_pb2", "imports _pb"),
    (wrong_directions, "rpc.server", "from ..app import run", "imports app"),
    (wrong_directions, "follower", "from .app import run", "imports app"),
    (wrong_directions, "follower", "from . import cli", "imports cli"),
    (wrong_directions, "app", "from ._pb import cache_pb2", "imports _pb"),
    (wrong_directions, "newroom.module", "", "not listed"),
    (foreign_packages, "follower", "from aiokafka.conn import create_conn", "imports aiokafka"),
    (foreign_packages, "app", "import aiokafka", "imports aiokafka"),
    (foreign_packages, "cli.status", "def f():\n    import grpc", "imports grpc"),
    (foreign_packages, "app", "from grpc import aio", "imports grpc"),
    (foreign_packages, "kafka.wire", "from google.rpc import status_pb2", "imports google.rpc"),
    (foreign_packages, "core.view", "from google import protobuf", "imports google.protobuf"),
    (impurities, "core.view", "import asyncio", "imports asyncio"),
    (impurities, "core.view", "from time import monotonic", "imports time"),
    (impurities, "core.view", "from os import environ", "imports os"),
    (impurities, "core.view", "import aiokafka.conn", "imports aiokafka"),
    (impurities, "core.view", "import grpc", "imports grpc"),
    (impurities, "core.view", "print(1)", "calls print"),
    (impurities, "core.view", "async def f():\n    pass", "is asynchronous"),
    (long_modules, "m", "x = 1\n" * 401, "401 lines"),
    (long_functions, "m", "def f():\n" + "    x = 1\n" * 50, "f: 51 lines"),
    (deep_functions, "m", body(4, "pass"), "f: 4 levels"),
    (deep_functions, "m", METHOD, "f: 4 levels"),
    (large_classes, "m", "class A:\n def __init__(self):\n" + fields(9, "  self.a{} = 0\n"), "9"),
    (large_classes, "m", "class A:\n" + fields(9), "A: 9 attributes"),
    (large_classes, "m", "class A:\n __slots__ = (" + fields(9, "'a{}', ") + ")", "9"),
    (large_classes, "m", SET_LATER, "9"),
    (lost_cancellations, "m", "async def f(): await asyncio.wait_for(a, 1)", "m:1: wait_for"),
    (without_docstring, "m", "x = 1", "no docstring"),
    (without_docstring, "", "", "sidecar: no docstring"),
    (unlisted_names, "m", "def public():\n    pass", "defines public"),
    (unlisted_names, "m", "LIMIT = 1", "defines LIMIT"),
    (unlisted_names, "m", "ONE, (TWO, _) = 1, (2, 3)", "defines ONE, TWO"),
    (unlisted_names, "m", "__all__ = ['gone']\n", "lists gone"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "name", "text", "says"), OFFENCES)
def test_an_offence_is_found_and_named(check, name, text, says):
    (offence,) = check(Module(name, text))
    assert says in offence
    assert offence.startswith(name or "sidecar")


INNOCENT = [
    (wrong_directions, "follower", "from .kafka.reader import Reader\nfrom .ops import logs"),
    (wrong_directions, "rpc.lookups", "from ..formats import text\nfrom .._pb import cache_pb2"),
    (wrong_directions, "cli.serve", "from .. import __version__\nfrom ..app import run"),
    (wrong_directions, "core.view", "from .table import Table\nfrom . import model\nimport re"),
    (foreign_packages, "kafka.wire", "from aiokafka.conn import create_conn\nimport grpcish"),
    (foreign_packages, "rpc.server", "import grpc.aio\nfrom google.rpc import status_pb2"),
    (impurities, "kafka.reader", "import asyncio, time, os\nasync def f():\n    pass"),
    (impurities, "core.view", "import hashlib\nfrom .model import Entry"),
    (long_modules, "m", "x = 1\n" * 400),
    (long_functions, "m", 'def f():\n    """One\n\n    two.\n    """\n' + "    x = 1\n" * 49),
    (deep_functions, "m", body(3, "pass")),
    (deep_functions, "m", FRAMED),
    (deep_functions, "m", "def f():\n    if a: pass\n" + "    elif a: pass\n" * 9),
    (deep_functions, "m", INNER),
    (large_classes, "m", "class A:\n    x: ClassVar[int]\n" + fields(8)),
    (large_classes, "kafka.settings", "class KafkaSettings:\n" + fields(9)),
    (lost_cancellations, "m", "async def f():\n  async with asyncio.timeout(1): pass"),
    (without_docstring, "m", '"""It has one."""'),
    (unlisted_names, "m", "__all__ = ['a', 'b']\nfrom .x import a\nb = 1\n_c = 2"),
    (unlisted_names, "m", "_private = 1\nfrom os import path"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "name", "text"), INNOCENT)
def test_what_is_allowed_is_not_named(check, name, text):
    assert list(check(Module(name, text))) == []


def test_imports_of_a_package_are_relative_to_itself():
    package = Module("kafka", "from . import wire\nfrom ..core import view", package=True)
    assert [dotted for _, dotted, _ in imports(package)] == ["sidecar.kafka", "sidecar.core"]


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("try:\n  if a:\n    pass\nfinally:\n  pass", 1),
        ("try:\n  pass\nexcept E:\n  if a:\n    pass", 2),
        ("try:\n  pass\nexcept* E:\n  pass", 1),
        ("if a:\n  pass\nelse:\n  for b in c:\n    pass", 2),
        ("match a:\n  case 1:\n    if b:\n      pass", 2),
        ("async def f():\n  async with a:\n    async for b in c:\n      pass", 0),
        ("while a:\n  with b:\n    pass", 2),
    ],
)
def test_levels_are_counted_by_their_definition(text, levels):
    assert nesting(ast.parse(text).body) == levels


def test_a_class_too_far_down_is_found_across_modules():
    base = Module("a", "class Own: pass\nclass Fault(Exception): pass")
    below = Module(
        "b.c", "from ..a import Own, Fault\nclass Next(Own[int]): pass\nclass F1(Fault): pass"
    )
    assert list(deep_classes([base, below])) == []
    last = Module("b.d", "from .c import Next, F1\nclass Last(Next): pass\nclass F2(F1): pass")
    assert list(deep_classes([base, below, last])) == [
        "b.d Last: 2 levels of our own classes above it, 1 allowed"
    ]
    errors = "class E0(ValueError): pass\n" + "\n".join(
        f"class E{n}(E{n - 1}): pass" for n in range(1, 5)
    )
    assert list(deep_classes([Module("e", errors)])) == [
        "e E4: 4 levels of our own classes above it, 3 allowed"
    ]
