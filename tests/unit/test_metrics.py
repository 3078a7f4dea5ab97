"""What is counted of calls and requests, under which labels, and that nobody's words can make those many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from fsserver.kernel.features import probe
from fsserver.policy.compiled import Action, Effect, Layer
from fsserver.sandbox.confinement import confine
from fsserver.sandbox.plan import plan_server
from fsserver.sandbox.profile import available_layer
from fsserver.sandbox.runtime import find_runtime
from fsserver.telemetry.metrics import BUCKETS, MOST_PRINCIPALS, MOST_RULES, Metrics
from fsserver.telemetry.seen import Begun, Decision, Seen
from fsserver.telemetry.sources import AuditPlace, Sources
from fsserver.tools.approval import Answer, Consent
from fsserver.tools.control import Control
from tests.gates import served
from tests.support import in_child, require_kernel
from tests.trees import ORIGIN, build, rules

TOOLS = ("read_text_file", "write_file", "delete_file", "list_directory")
BEGUN = Begun(1, "read_text_file", None, "s", "p", None, None)
SEEN = Seen(1, "read_text_file", None, "s", "p", None, None, Decision.ALLOWED, None, None, 0.003, 10, is_error=False)
PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)


def made(sources: Sources | None = None) -> Metrics:
    return Metrics(version="1.2", policy="ci", policy_digest="0" * 64, tools=TOOLS, sources=sources or Sources())


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    here = made()
    yield here
    here.close()


def series(metrics: Metrics, sample: str) -> dict[tuple[str, ...], float]:
    """Every time series of the name as it is served, by the values of its labels, which come sorted by name."""
    families = parse(metrics.exposed("")[1].decode())
    samples = [each for family in families for each in family.samples if each.name == sample]
    return {tuple(each.labels.values()): each.value for each in samples}


def single(metrics: Metrics, sample: str) -> float | None:
    """Of the one without labels; None where it is not served."""
    return series(metrics, sample).get(())


# --- calls


def test_calls_of_a_real_gate_are_counted(tmp_path: Path, metrics: Metrics) -> None:
    work = tmp_path / "work"
    work.mkdir()
    build(work, ["file a.txt one", "file .env SECRET"])
    root = rules(work, deny=["**/.env"], operations={Action.DELETE: Effect.ASK})
    with served(tmp_path, [root], can_ask=True, observer=metrics) as gate:
        gate.call("read_text_file", path="a.txt")
        gate.call("read_text_file", path="a.txt")
        gate.call("read_text_file", path=".env")
        gate.call("read_text_file", path="none")
        gate.call("no_such_tool", path="a.txt")
        needed = gate.needed("delete_file", path="a.txt")
        gate.answered(Consent.to(needed, Answer.DECLINED), "delete_file", path="a.txt")
    assert series(metrics, "fsserver_calls_total") == {
        ("allowed", "read_text_file"): 2,
        ("denied", "read_text_file"): 1,
        ("failed", "read_text_file"): 1,
        ("failed", "unknown"): 1,
        ("asked", "delete_file"): 1,
        ("denied", "delete_file"): 1,
    }
    assert series(metrics, "fsserver_principal_calls_total") == {
        ("allowed", "tester"): 2,
        ("denied", "tester"): 2,
        ("failed", "tester"): 2,
        ("asked", "tester"): 1,
    }
    assert {labels: count for labels, count in series(metrics, "fsserver_errors_total").items() if count} == {
        ("denied.protected", "read_text_file"): 1,
        ("resource.not_found", "read_text_file"): 1,
        ("request.unknown_tool", "unknown"): 1,
        ("denied.consent", "delete_file"): 1,
    }
    assert series(metrics, "fsserver_denials_total")["denied.protected", str(ORIGIN)] == 1
    assert series(metrics, "fsserver_call_duration_seconds_count")["read_text_file",] == 4
    assert series(metrics, "fsserver_result_bytes_total")["read_text_file",] > 2 * len("one")
    assert single(metrics, "fsserver_calls_in_flight") == 0


def test_failure_that_wakes_somebody_is_there_before_it_happens(metrics: Metrics) -> None:
    before = series(metrics, "fsserver_errors_total")
    assert {code for code, _ in before} == {"audit.append", "internal", "state.unavailable"}
    assert {tool for _, tool in before} == set(TOOLS)
    assert set(before.values()) == {0}


def test_call_that_comes_again_is_counted_once(tmp_path: Path, metrics: Metrics) -> None:
    work = tmp_path / "work"
    work.mkdir()
    root = rules(work, operations={Action.DELETE: Effect.ASK})
    build(work, ["file a.txt one"])
    with served(tmp_path, [root], can_ask=True, observer=metrics) as gate:
        gate.gate.call(gate.session, "delete_file", {"path": "a.txt"}, Control(), asks=False)
        assert series(metrics, "fsserver_calls_total") == {}
        gate.needed("delete_file", path="a.txt")
    assert series(metrics, "fsserver_calls_total") == {("asked", "delete_file"): 1}
    assert single(metrics, "fsserver_calls_in_flight") == 0


def test_calls_at_work_are_shown(metrics: Metrics) -> None:
    metrics.began(BEGUN)
    metrics.began(BEGUN)
    metrics.over(SEEN)
    assert single(metrics, "fsserver_calls_in_flight") == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("limit.rate", "rate"),
        ("limit.concurrency", "concurrency"),
        ("limit.quota", "quota"),
        ("command.time", "command_time"),
        ("command.memory", "command_memory"),
        ("command.cancelled", None),
        ("command.failed", None),
        ("resource.no_space", None),
        ("denied.rule", None),
    ],
)
def test_limit_that_a_call_reached_is_counted_by_its_kind(metrics: Metrics, code: str, kind: str | None) -> None:
    metrics.over(SEEN._replace(code=code, is_error=True))
    assert series(metrics, "fsserver_limits_hit_total") == ({} if kind is None else {(kind,): 1})


@pytest.mark.parametrize(
    ("duration_s", "bucket"), [(0.0005, "0.001"), (0.0011, "0.0025"), (0.2, "0.25"), (119.0, "120.0"), (300.0, "+Inf")]
)
def test_duration_falls_into_its_bucket(metrics: Metrics, duration_s: float, bucket: str) -> None:
    metrics.over(SEEN._replace(duration_s=duration_s))
    counts = {edge: count for (edge, _), count in series(metrics, "fsserver_call_duration_seconds_bucket").items()}
    assert next(edge for edge, count in counts.items() if count) == bucket
    assert len(counts) == len(BUCKETS) + 1


def test_threads_lose_no_call(metrics: Metrics) -> None:
    def make(_: int) -> None:
        for _ in range(500):
            metrics.began(BEGUN)
            metrics.over(SEEN)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, range(4)))
    assert series(metrics, "fsserver_calls_total") == {("allowed", "read_text_file"): 2000}
    assert single(metrics, "fsserver_calls_in_flight") == 0


# --- labels


def test_names_that_clients_invent_are_one_label(metrics: Metrics) -> None:
    for number in range(1000):
        metrics.over(SEEN._replace(tool=f"tool{number}", decision=Decision.FAILED, code="request.unknown_tool"))
    assert series(metrics, "fsserver_calls_total") == {("failed", "unknown"): 1000}
    assert len(series(metrics, "fsserver_call_duration_seconds_count")) == 1


def test_principals_and_rules_beyond_the_first_are_one_label(metrics: Metrics) -> None:
    for number in range(1000):
        metrics.over(
            SEEN._replace(principal=f"p{number}", decision=Decision.DENIED, code="denied.rule", rule=f"p.yaml:{number}")
        )
    by_principal = series(metrics, "fsserver_principal_calls_total")
    assert len(by_principal) == MOST_PRINCIPALS + 1
    assert by_principal["denied", "other"] == 1000 - MOST_PRINCIPALS
    by_rule = series(metrics, "fsserver_denials_total")
    assert len(by_rule) == MOST_RULES + 1
    assert by_rule["denied.rule", "other"] == 1000 - MOST_RULES


def test_label_with_quotes_and_lines_breaks_no_form(metrics: Metrics) -> None:
    hostile = 'a"} 1\nfsserver_calls_total{tool="x"} 7 # \\'
    metrics.over(SEEN._replace(principal=hostile))
    assert series(metrics, "fsserver_principal_calls_total") == {("allowed", hostile): 1}
    assert series(metrics, "fsserver_calls_total") == {("allowed", "read_text_file"): 1}


# --- what is asked for when it is read


def test_sources_are_asked_at_each_reading() -> None:
    sources = Sources()
    metrics = made(sources)
    assert single(metrics, "fsserver_sessions") is None
    open_now = [3]
    sources.sessions = lambda: open_now[0]
    sources.commands_running = lambda: 2
    sources.draining = lambda: True
    sources.checks = lambda: {"audit": True, "redis": False}
    sources.audit = lambda: [AuditPlace("file"), AuditPlace("syslog", False, 2.5, 7, 1)]
    assert single(metrics, "fsserver_sessions") == 3
    open_now[0] = 4
    assert single(metrics, "fsserver_sessions") == 4
    assert single(metrics, "fsserver_commands_running") == 2
    assert single(metrics, "fsserver_draining") == 1
    assert series(metrics, "fsserver_check_up") == {("audit",): 1, ("redis",): 0}
    assert series(metrics, "fsserver_audit_up") == {("file",): 1, ("syslog",): 0}
    assert series(metrics, "fsserver_audit_lag_seconds") == {("file",): 0, ("syslog",): 2.5}
    assert series(metrics, "fsserver_audit_waiting_records")["syslog",] == 7
    assert series(metrics, "fsserver_audit_missed_records_total")["syslog",] == 1
    metrics.close()


def test_source_that_fails_takes_no_other_away(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> int:
        raise ValueError("no")

    metrics = made(Sources(sessions=fail, connections=lambda: 5))
    assert single(metrics, "fsserver_sessions") is None
    assert single(metrics, "fsserver_http_connections") == 5
    assert "the metrics of sessions cannot be read" in caplog.text
    metrics.close()


def test_answers_over_http_are_counted_by_status(metrics: Metrics) -> None:
    for status in (200, 200, 401, 503):
        metrics.request(status)
    assert series(metrics, "fsserver_http_requests_total") == {("200",): 2, ("401",): 1, ("503",): 1}


# --- the form


def test_server_and_policy_are_named(metrics: Metrics) -> None:
    text = metrics.exposed("")[1].decode()
    assert 'version="1.2"' in text
    assert f'fsserver_policy_info{{digest="{"0" * 64}",name="ci"}} 1.0' in text


def test_both_forms_hold_the_same(metrics: Metrics) -> None:
    metrics.over(SEEN)
    plain, opened = metrics.exposed("text/plain"), metrics.exposed("application/openmetrics-text; version=1.0.0")
    assert opened[0].startswith("application/openmetrics-text")
    names = {family.name for family in parse(plain[1].decode())}
    families = parse_openmetrics(opened[1].decode())  # type: ignore[no-untyped-call]
    assert names == {family.name for family in families}
    assert not [name for name in names if name.endswith("_created")]


def test_two_servers_in_one_process_count_apart(metrics: Metrics) -> None:
    other = made()
    metrics.over(SEEN)
    assert series(other, "fsserver_calls_total") == {}
    other.close()


# --- the process


def test_process_is_measured_and_confined_it_still_is(tmp_path: Path) -> None:
    features = probe()
    if available_layer(features.landlock_abi, seccomp=features.seccomp) is Layer.NONE:
        require_kernel("Landlock ABI 3 and seccomp")
    runtime = find_runtime()

    def read() -> tuple[dict[str, float | None], dict[str, float | None], str]:
        metrics = made()
        before = {name: single(metrics, name) for name in PROCESS}
        confine(plan_server(roots=[], state_directories=[], runtime=runtime, features=features, pid=os.getpid()))
        try:
            open("/proc/self/stat").close()
        except OSError:
            anew = "refused"
        else:
            anew = "opened"
        return before, {name: single(metrics, name) for name in PROCESS}, anew

    before, after, anew = in_child(read)
    assert anew == "refused"
    assert None not in before.values()
    assert None not in after.values()
    assert before["process_open_fds"] == after["process_open_fds"]
    assert before["process_start_time_seconds"] == pytest.approx(after["process_start_time_seconds"], abs=0.1)


def test_numbers_of_the_process_are_true(metrics: Metrics) -> None:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident = single(metrics, "process_resident_memory_bytes")
    assert resident == pytest.approx(int(status["VmRSS"].split()[0]) * 1024, rel=0.1)
    opened = single(metrics, "process_open_fds")
    with open(os.devnull, "rb"):
        assert single(metrics, "process_open_fds") == (opened or 0) + 1
    began = single(metrics, "process_start_time_seconds") or 0
    assert Path("/proc/self").stat().st_ctime >= began - 60
    assert single(metrics, "python_gc_collections_total") is None  # it has a label, its generation
    assert len(series(metrics, "python_gc_collections_total")) == 3


def test_without_proc_those_are_missing_and_the_others_there(metrics: Metrics) -> None:
    metrics.close()
    assert single(metrics, "process_resident_memory_bytes") is None
    assert (single(metrics, "process_cpu_seconds_total") or 0) > 0
