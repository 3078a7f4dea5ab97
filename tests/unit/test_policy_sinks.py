"""Sinks of the audit log beyond files: what arrives, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.compiled import AuditSink
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.service import NetworkProtocol, NetworkSink
from tests.policy_files import Desk, desk_in


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def policy(*sinks: str) -> str:
    return f"version: 1\nroots: {{app: {{path: ~/app}}}}\naudit: {{sinks: [{', '.join(sinks)}]}}\n"


def test_every_kind_of_sink_arrives(desk: Desk) -> None:
    audit = desk.load(
        policy(
            "{dir: ~/log}",
            '{syslog: "tls://Logs.example.org", ca: ~/ca.crt, required: false}',
            '{syslog: "tls://logs.example.org:7000"}',
            '{syslog: "tcp://[::1]"}',
            '{otlp: "https://collector:4318/v1/logs"}',
            "{stderr: true}",
            "{file: ~/second/log.jsonl, required: false}",
        )
    ).audit
    syslog, otlp = NetworkProtocol.SYSLOG, NetworkProtocol.OTLP
    assert audit.network == (
        NetworkSink(syslog, "logs.example.org", 6514, f"{desk.home}/ca.crt", required=False),
        NetworkSink(syslog, "logs.example.org", 7000),
        NetworkSink(syslog, "::1", 601, plain=True),
        NetworkSink(otlp, url="https://collector:4318/v1/logs"),
    )
    assert audit.sinks == (
        AuditSink(f"{desk.home}/log"),
        AuditSink(None, f"{desk.home}/second/log.jsonl", required=False),
    )
    assert audit.stderr


def test_nothing_leaves_the_machine_unless_written(desk: Desk) -> None:
    audit = desk.load(policy("{dir: ~/log}")).audit
    assert (audit.network, audit.stderr) == ((), False)


@pytest.mark.parametrize(
    ("sinks", "problem"),
    [
        pytest.param(
            ["{stderr: true}"], "E022 3:17 the first sink is a directory or a file", id="standard error first"
        ),
        pytest.param(['{otlp: "https://h"}', "{dir: ~/log}"], "E022 3:17 the first sink is a", id="network first"),
        pytest.param(["{dir: ~/log}", "{stderr: false}"], "E022 3:40 a sink that is none", id="not standard error"),
        pytest.param(
            ["{dir: ~/log}", "{stderr: true, required: true}"],
            "E022 3:56 standard error is never required",
            id="required",
        ),
        pytest.param(
            ["{dir: ~/log}", "{stderr: true}", "{stderr: true}"], "E022 3:47 two sinks write to standard", id="twice"
        ),
        pytest.param(
            ["{dir: ~/log, ca: /ca}"], "E022 3:34 `ca` is for a syslog server with TLS", id="CA of a directory"
        ),
        pytest.param(
            ["{dir: ~/log}", '{syslog: "tcp://127.0.0.1", ca: /ca}'], "E022 3:63 `ca` is for", id="CA without TLS"
        ),
        pytest.param(
            ["{dir: ~/log}", '{syslog: "tcp://10.0.0.1"}'],
            "E060 3:40 records without TLS beyond this",
            id="plain syslog",
        ),
        pytest.param(
            ["{dir: ~/log}", '{otlp: "http://collector:4318"}'], "E060 3:38 http beyond this machine", id="plain OTLP"
        ),
        pytest.param(
            ["{dir: ~/log}", '{syslog: "tls://a"}', '{syslog: "tls://A:6514"}'],
            "E022 3:31 two sinks write to a:6514",
            id="a server twice",
        ),
        pytest.param(
            ["{dir: ~/log}", '{syslog: "tls://a", otlp: "https://a"}'],
            'E022 3:31 an item of "sinks" has 2 keys; expected one',
            id="two in one",
        ),
        pytest.param(
            ["{dir: ~/log}", '{url: "https://a"}'], 'E010 3:32 unknown key "url" in an item of "sinks"', id="unknown"
        ),
    ],
)
def test_a_sink_that_is_not_right(desk: Desk, sinks: list[str], problem: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        desk.load(policy(*sinks))
    (found,) = caught.value.problems
    assert f"{found.code} {found.line}:{found.column} {found.message}".startswith(problem)
