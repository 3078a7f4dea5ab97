"""Packages that are put in place and executed later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fsserver.server.lazy import put_off

PACKAGE = "put_off_package"


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a subpackage and modules that say when they are executed."""
    inner = tmp_path / PACKAGE / "inner"
    inner.mkdir(parents=True)
    (tmp_path / PACKAGE / "__init__.py").write_text("from put_off_package import module\nname = 'outer'\n")
    (tmp_path / PACKAGE / "module.py").write_text("value = 1\n")
    (inner / "__init__.py").write_text("name = 'inner'\nraise_later = 1\n")
    (inner / "module.py").write_text("value = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture(autouse=True)
def _forgotten(_package: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", ".module", ".inner", ".inner.module"):
        monkeypatch.delitem(sys.modules, PACKAGE + name, raising=False)


def test_modules_are_imported_without_their_packages_being_executed() -> None:
    put_off(PACKAGE, f"{PACKAGE}.inner")
    import put_off_package.inner.module as module  # type: ignore[import-not-found]  # noqa: PLC0415

    assert module.value == 2
    assert f"{PACKAGE}.module" not in sys.modules


def test_a_package_is_executed_when_a_name_in_it_is_asked_for() -> None:
    put_off(PACKAGE, f"{PACKAGE}.inner")
    from put_off_package import name  # noqa: PLC0415
    from put_off_package.inner import name as inner  # noqa: PLC0415

    assert (name, inner) == ("outer", "inner")
    assert f"{PACKAGE}.module" in sys.modules
    with pytest.raises(ImportError):
        from put_off_package import nothing  # noqa: F401, PLC0415


def test_a_package_that_is_loaded_stays_as_it_is() -> None:
    import put_off_package  # noqa: PLC0415

    put_off(PACKAGE)
    assert sys.modules[PACKAGE] is put_off_package
    assert put_off_package.name == "outer"


def test_a_package_that_is_not_installed_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        put_off("no_such_package")


def test_the_server_is_loaded_without_the_protocols_client() -> None:
    code = (
        "import sys; from fsserver.server.lazy import put_off; put_off('mcp', 'mcp.server');"
        "import fsserver.server.files, fsserver.transport.stdio;"
        "assert 'mcp.client' not in sys.modules and 'mcp.server.mcpserver' not in sys.modules, 'loaded';"
        "from mcp import ClientSession; from mcp.server import MCPServer"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
