"""What doctor says about serving over HTTP: each part well, and each as it can be wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fsserver.cli.checks import Check
from fsserver.cli.doctor_service import service_checks
from fsserver.policy.loader import load_policy
from tests.issuer import fake_issuer
from tests.support import REPOSITORY


def checked(base: Path, server: str, more: str = "") -> dict[str, Check]:
    (base / "root").mkdir(exist_ok=True)
    file = base / "policy.yaml"
    rules = "principals: [{when: {token: a}}]" if "tokens:" in server else ""
    text = f"version: 1\nroots: {{r: {{path: {base}/root}}}}\nserver: {{transport: http, {server}}}\n{rules}\n{more}\n"
    file.write_text(text)
    file.chmod(0o600)
    return {check.name: check for check in service_checks(load_policy(file))}


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


def test_a_service_that_would_work_is_well(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens/file"
    tokens.parent.mkdir()
    command = [sys.executable, "-m", "fsserver", "token", "new", "a", "--file", str(tokens)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, timeout=30)
    found = checked(tmp_path, f'listen: "127.0.0.1:0", ops: "127.0.0.1:0", auth: {{tokens: {tokens}}}')
    assert {name: check.verdict for name, check in found.items()} == {"listen": "ok", "ops": "ok", "tokens": "ok"}
    assert found["tokens"].text.startswith("1 in ")


def test_an_address_that_is_taken_is_told(tmp_path: Path, taken: int) -> None:
    found = checked(tmp_path, f'listen: "127.0.0.1:{taken}", auth: none')
    assert found["listen"].verdict == "warning"
    assert "Address already in use" in found["listen"].text
    assert found["auth"].verdict == "warning"


def test_no_file_of_tokens_stops_it(tmp_path: Path) -> None:
    found = checked(tmp_path, f'listen: "127.0.0.1:0", auth: {{tokens: {tmp_path}/keys/none}}')
    assert (found["tokens"].verdict, found["tokens"].exit_code) == ("error", 2)


def test_a_certificate_that_is_none_stops_it(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    for name in ("crt", "key"):
        (tmp_path / "tls" / name).write_text("none")
    tls = f"tls: {{certificate: {tmp_path}/tls/crt, key: {tmp_path}/tls/key}}"
    found = checked(tmp_path, f'listen: "127.0.0.1:0", auth: none, {tls}')
    assert (found["tls"].verdict, found["tls"].exit_code) == ("error", 2)


@pytest.mark.parametrize(("on_failure", "verdict", "code"), [("refuse", "error", 2), ("local", "warning", 0)])
def test_redis_that_is_not_there_is_told(tmp_path: Path, on_failure: str, verdict: str, code: int) -> None:
    state = f'state: {{redis: "redis://127.0.0.1:1/0", on_failure: {on_failure}}}'
    found = checked(tmp_path, 'listen: "127.0.0.1:0", auth: none', state)
    assert (found["redis"].verdict, found["redis"].exit_code) == (verdict, code)


@pytest.mark.parametrize(("path", "verdict"), [("/jwks", "ok"), ("/elsewhere", "warning")])
def test_an_issuer_is_asked_for_its_keys(tmp_path: Path, path: str, verdict: str) -> None:
    with fake_issuer() as issuer:
        oauth = f'oauth: [{{issuer: "{issuer.url}", audience: "urn:mcp", jwks: "{issuer.url}{path}"}}]'
        rules = f'principals: [{{when: {{issuer: "{issuer.url}"}}}}]'
        found = checked(tmp_path, f'listen: "127.0.0.1:0", auth: {{{oauth}}}', rules)
        assert found["issuer"].verdict == verdict, found
        assert path in issuer.asked


def test_stdio_has_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    file = tmp_path / "policy.yaml"
    file.write_text(f"version: 1\nroots: {{r: {{path: {tmp_path}/root}}}}\n")
    assert not list(service_checks(load_policy(file)))


def test_doctor_prints_them(tmp_path: Path) -> None:
    checked(tmp_path, 'listen: "127.0.0.1:0", auth: none')
    command = [sys.executable, "-m", "fsserver", "doctor", "--json", "--policy", str(tmp_path / "policy.yaml")]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    report: dict[str, Any] = json.loads(run.stdout)
    assert {check["name"] for check in report["checks"] if check["group"] == "service"} == {"listen", "auth"}
