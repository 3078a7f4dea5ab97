"""The shape of the package, held by reading its source: who may import whom, and where a few powerful things live."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "fsserver"

# Imports point down only: a module may import from its own part and from parts with a larger number, of which those
# with the same number never import each other. The policy's front (what reads YAML) is apart from its core.
LEVELS = {
    "cli": 0,
    "app": 1,
    "transport": 2,
    "server": 3,
    "tools": 4,
    "paths": 5,
    "sandbox": 5,
    "audit": 5,
    "state": 5,
    "policy front": 6,
    "policy core": 7,
    "kernel": 8,
    "errors": 9,
    "version": 9,
    "trust": 9,
}
POLICY_CORE = {
    f"fsserver.policy.{name}"
    for name in ("arguments", "compiled", "decision", "globs", "principals", "rules", "service", "variables")
}
STANDARD_LIBRARY_ONLY = ("kernel", "policy core", "errors", "version", "trust")

# What the launcher's process may be made of, and so each cell.
LAUNCHER_PARTS = {"kernel", "policy core", "sandbox", "errors", "version"}

# Parts beside the tower. They are imported from where they are listed and import nothing of fsserver but what
# everybody may.
ANYWHERE = {"telemetry"}

# The policy's front turns a file into a frozen policy; whoever runs calls gets the frozen policy only.
POLICY_FRONT_USERS = {"cli", "app", "policy front"}

# Where an OSError may be caught. Everywhere else an operating system's answer arrives as one of our errors.
OSERROR_PARTS = {
    "kernel",  # probes: a refused syscall is the answer that is asked for
    "paths",  # translates into resource.* and denied.*
    "sandbox",  # translates into sandbox.setup
    "audit",  # translates into audit.*
    "state",  # translates into state.*, and files of secrets into config.*
    "policy front",  # a policy file that cannot be read is a config.* error with its place
    "transport",  # the client's end of a pipe closes
    "telemetry",  # nobody reads standard error any more
    "app",  # start-up: directories of the state, the server's own confinement
    "cli",  # prints it
}

# Single modules elsewhere, where the OSError is no answer about a file.
OSERROR_MODULES = {
    "fsserver.tools.files.info",  # time.localtime(3) raises it for a time that no calendar has
}

# A name that says nothing about what is inside collects what belongs elsewhere.
EMPTY_WORDS = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc"}


class Import(NamedTuple):
    """One imported module, absolute: for ``from a.b import c`` it is ``a.b.c`` where that is a module, else ``a.b``."""

    module: str
    line: int


def dotted(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def source(module: str) -> ast.Module:
    """What a module says. Not before a test asks: every test process imports this file, and few run its tests."""
    return ast.parse(MODULES[module].read_text(), str(MODULES[module]))


def part_of(module: str) -> str:
    """The part of the tower that a module belongs to."""
    if module == "fsserver":
        return "version"
    if module == "fsserver.__main__":
        return "cli"
    part = module.split(".")[1]
    if part == "policy":
        return "policy core" if module in POLICY_CORE else "policy front"
    return part


@cache
def imports(module: str) -> tuple[Import, ...]:
    """Everything that ``module`` imports, also inside functions: a late import is still a dependency."""
    return tuple(_imports(module))


def _imports(module: str) -> Iterator[Import]:
    for node in ast.walk(source(module)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in MODULES else str(node.module), node.lineno)


def own_imports(module: str) -> Iterator[Import]:
    return (imported for imported in imports(module) if imported.module.split(".")[0] == "fsserver")


def may_import(importer: str, imported: str) -> bool:
    here, there = part_of(importer), part_of(imported)
    if here == there or there in ("errors", "version", "trust"):
        return True
    if there in ANYWHERE:
        return here not in STANDARD_LIBRARY_ONLY
    if here in ANYWHERE:
        return False
    if there == "policy front":
        return here in POLICY_FRONT_USERS
    return LEVELS[here] < LEVELS[there]


def test_every_part_has_a_level() -> None:
    assert {part_of(module) for module in MODULES} <= LEVELS.keys() | ANYWHERE


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("fsserver.cli.serve", "fsserver.app.stdio", True),
        ("fsserver.tools.gate", "fsserver.paths.workspace", True),
        ("fsserver.tools.gate", "fsserver.policy.decision", True),
        ("fsserver.paths.root", "fsserver.kernel.syscalls", True),
        ("fsserver.app.stdio", "fsserver.policy.loader", True),
        ("fsserver.tools.gate", "fsserver.policy.loader", False),
        ("fsserver.policy.decision", "fsserver.policy.model", False),
        ("fsserver.paths.root", "fsserver.audit.log", False),
        ("fsserver.paths.root", "fsserver.tools.gate", False),
        ("fsserver.tools.budgets", "fsserver.state.opening", True),
        ("fsserver.state.redis", "fsserver.policy.service", True),
        ("fsserver.state.redis", "fsserver.audit.log", False),
        ("fsserver.state.redis", "fsserver.policy.loader", False),
        ("fsserver.kernel.syscalls", "fsserver.telemetry.logging", False),
        ("fsserver.server", "fsserver.transport.stdio", False),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    upward = [f"line {line}: {name}" for name, line in own_imports(module) if not may_import(module, name)]
    assert not upward, f"{module} ({part_of(module)}) may not import: {upward}"


def test_imports_make_no_cycle() -> None:
    graph = {module: {name for name, _ in own_imports(module)} - {module} for module in MODULES}
    finished: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "cycle: " + " → ".join((*path[path.index(module) :], module))
        if module not in finished:
            for name in sorted(graph.get(module, ())):
                follow(name, (*path, module))
            finished.add(module)

    for module in graph:
        follow(module, ())


def test_the_parts_that_the_launcher_shares_need_the_standard_library_only() -> None:
    outside = [
        f"{module}:{line}: {name}"
        for module in MODULES
        if part_of(module) in STANDARD_LIBRARY_ONLY
        for name, line in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names | {"fsserver"}
    ]
    assert not outside


def launcher_closure() -> set[str]:
    """Every module of fsserver that the launcher's process loads, by its imports and theirs."""
    found: set[str] = set()
    pending = ["fsserver.sandbox.launcher"]
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += [name for name, _ in own_imports(module)]
    return found


def test_the_launcher_and_its_cells_consist_of_few_parts() -> None:
    """A process that starts programs for a server that it does not trust: nothing of the server's is in it."""
    strays = {each for each in launcher_closure() if part_of(each) not in LAUNCHER_PARTS}
    assert not strays
    assert {"fsserver.sandbox.cell", "fsserver.policy.arguments"} <= launcher_closure()


def test_the_launcher_and_its_cells_need_the_standard_library_only() -> None:
    outside = [
        f"{module}:{line}: {name}"
        for module in launcher_closure()
        for name, line in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names | {"fsserver"}
    ]
    assert not outside


def test_the_launcher_loads_what_its_source_says_and_nothing_else() -> None:
    """Once for real, as the server starts it: without site-packages, environment and current directory."""
    show = "import sys; sys.path.append(sys.argv[1]); before = set(sys.modules); import fsserver.sandbox.launcher; "
    show += "print('\\n'.join(sorted(set(sys.modules) - before)))"
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", show, str(REPOSITORY)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={},
        cwd="/",
    )
    loaded = set(shown.stdout.split())
    packages = {"fsserver", "fsserver.kernel", "fsserver.policy", "fsserver.sandbox"}
    assert {each for each in loaded if each.split(".")[0] == "fsserver"} == launcher_closure() | packages
    assert {each.split(".")[0] for each in loaded} <= sys.stdlib_module_names | {"fsserver"}


def test_package_files_are_empty() -> None:
    full = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE and path.read_text().strip()]
    assert not full
    heavy = [name for name, _ in imports("fsserver")]
    assert not heavy, "fsserver/__init__.py is passed through by every process, the smallest too"


def test_no_module_has_an_empty_word_for_a_name() -> None:
    vague = [module for module in MODULES if EMPTY_WORDS & set(module.rsplit(".", 1)[-1].split("_"))]
    assert not vague


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("ctypes", "fsserver.kernel."),
        ("mcp.server", "fsserver.server"),
        ("click", "fsserver.cli."),
        ("redis", "fsserver.state."),
        ("limits", "fsserver.state."),
    ],
)
def test_a_powerful_library_has_one_home(library: str, home: str) -> None:
    strays = [
        f"{module}:{line}"
        for module in MODULES
        if not f"{module}.".startswith(home if home.endswith(".") else f"{home}.")
        for name, line in imports(module)
        if f"{name}.".startswith(f"{library}.")
    ]
    assert not strays, f"{library} is imported outside {home}"


def test_only_the_command_line_prints_or_exits() -> None:
    def speaks(node: ast.AST) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="print" | "exit" | "quit" | "input")):
                return True
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sys"), attr="exit")):
                return True
            case ast.Raise(exc=ast.Call(func=ast.Name(id="SystemExit")) | ast.Name(id="SystemExit")):
                return True
        return False

    assert not places(speaks, except_in={"cli"})


def test_operating_system_errors_are_caught_where_they_are_translated() -> None:
    families = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)}
    families -= {"TimeoutError"}  # what asyncio raises when a wait of ours is over

    def catches(node: ast.AST) -> bool:
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            return bool(families & names_in(node.type))
        match node:
            case ast.Call(func=ast.Attribute(attr="suppress") | ast.Name(id="suppress")):
                return any(families & names_in(argument) for argument in node.args)
        return False

    found = places(catches, except_in=OSERROR_PARTS)
    assert not [place for place in found if place.split(":")[0] not in OSERROR_MODULES]


def test_no_module_keeps_mutable_state() -> None:
    def accumulates(value: ast.expr | None) -> bool:
        """An empty container at module level waits to be filled; a full one in a constant's place is a table."""
        match value:
            case ast.Dict(keys=[]) | ast.List(elts=[]):
                return True
            case ast.Call(func=ast.Name(id="dict" | "list" | "set" | "defaultdict" | "deque"), args=[], keywords=[]):
                return True
        return False

    found = [
        f"{module}:{statement.lineno}"
        for module in MODULES
        for statement in source(module).body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and accumulates(statement.value)
    ]
    assert not found + places(lambda node: isinstance(node, ast.Global), except_in=set())


def names_in(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def places(condition: Callable[[ast.AST], bool], *, except_in: set[str]) -> list[str]:
    return [
        f"{module}:{getattr(node, 'lineno', 0)}"
        for module in MODULES
        if part_of(module) not in except_in
        for node in ast.walk(source(module))
        if condition(node)
    ]
