"""What an operator's machines are told over HTTP, and what nobody is."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from fsserver.policy.service import Address
from fsserver.telemetry.metrics import Metrics
from fsserver.telemetry.sources import Sources
from fsserver.transport.hosts import Hosts
from fsserver.transport.ops import readiness
from fsserver.transport.ops.aside import Aside
from fsserver.transport.ops.readiness import Check, Readiness
from tests.operations import VERSION, listening
from tests.support import let_no_thread_begin


def check(name: str, well: bool = True, detail: str = "fine", required: bool = True) -> Check:
    return Check(name, required, lambda: (well, detail))


# --- what is there


def test_alive_as_long_as_the_loop_answers() -> None:
    with listening([check("audit", well=False)]) as ops:
        answer = ops.get("/livez")
        assert (answer.status, answer.text) == (200, "alive\n")
        assert ops.get("/livez", Accept="application/json").json() == {"alive": True}


def test_version_is_what_was_given() -> None:
    with listening() as ops:
        assert ops.get("/version").json() == VERSION


def test_no_answer_is_kept_by_anybody_or_taken_for_something_else() -> None:
    with listening() as ops:
        for target in ("/livez", "/readyz", "/metrics", "/version", "/nothing"):
            headers = ops.get(target).headers
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


@pytest.mark.parametrize("target", ["/", "/healthz", "/livez/", "/LIVEZ", "/metrics/x", "//livez", "/../livez", "/mcp"])
def test_everything_else_is_not_there(target: str) -> None:
    with listening() as ops:
        answer = ops.get(target)
    assert (answer.status, answer.text) == (404, "There is /livez, /readyz, /metrics, /version.\n")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_get_is_taken(method: str) -> None:
    with listening() as ops:
        answer = ops.get("/readyz", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")


# --- ready or not


@pytest.mark.parametrize(
    ("checks", "status", "text"),
    [
        ([], 200, "ready\n"),
        ([check("policy"), check("audit")], 200, "ready\n"),
        ([check("policy"), check("audit", well=False)], 503, "not ready: audit\n"),
        ([check("launcher", well=False, required=False)], 200, "ready\n"),
        (
            [check("launcher", well=False, required=False), check("redis", well=False)],
            503,
            "not ready: launcher (not required), redis\n",
        ),
    ],
    ids=["no checks", "all well", "one is not", "one that is not required", "both"],
)
def test_ready_is_what_has_every_required_check_well(checks: list[Check], status: int, text: str) -> None:
    with listening(checks) as ops:
        answer = ops.get("/readyz")
        assert (answer.status, answer.text) == (status, text)
        assert ops.get("/readyz", Accept="application/json").json() == {"ready": status == 200}


def test_verbose_tells_each_check() -> None:
    checks = [
        check("policy", detail="ci"),
        check("audit", well=False, detail="no room"),
        check("redis", required=False),
    ]
    with listening(checks) as ops:
        text = ops.get("/readyz?verbose").text
        found = ops.get("/readyz?verbose=1", Accept="text/html, application/json").json()
    assert text == "[+] policy: ci\n[-] audit: no room\n[+] redis (not required): fine\nnot ready\n"
    assert found["ready"] is False
    assert found["checks"][1] == {"name": "audit", "required": True, "well": False, "detail": "no room"}


def test_check_that_raises_is_not_well_and_its_words_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def look() -> tuple[bool, str]:
        raise OSError("/srv/secret")

    with listening([Check("roots", True, look)]) as ops:
        answer = ops.get("/readyz?verbose")
    assert answer.status == 503
    assert "secret" not in answer.text
    assert "/srv/secret" in caplog.text


def test_check_that_hangs_is_not_well_holds_one_thread_and_keeps_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WAIT_S", 0.2)
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)
    released, looks = threading.Event(), []

    def hang() -> tuple[bool, str]:
        looks.append(threading.current_thread())
        released.wait(30)
        return True, "back"

    with listening([Check("roots", True, hang), check("audit")]) as ops:
        for _ in range(3):
            began = time.monotonic()
            answer = ops.get("/readyz?verbose")
            assert time.monotonic() - began < 5
            assert answer.text == "[-] roots: no answer within 0.2 s\n[+] audit: fine\nnot ready\n"
        assert ops.get("/livez").status == 200
        assert len(looks) == 1
        released.set()
        looks[0].join(10)
        assert ops.get("/readyz?verbose").text == "[+] roots: back\n[+] audit: fine\nready\n"


def test_many_who_ask_at_once_are_one_look() -> None:
    looks = []

    def look() -> tuple[bool, str]:
        looks.append(1)
        return True, "fine"

    async def ask() -> None:
        asked = Readiness([Check("audit", True, look)])
        found = await asyncio.gather(*(asked.findings() for _ in range(24)))
        assert found == [[("audit", True, True, "fine")]] * 24

    asyncio.run(ask())
    assert len(looks) == 1


def test_last_findings_are_there_for_metrics() -> None:
    with listening([check("audit"), check("redis", well=False)]) as ops:
        assert ops.readiness.last() == {}
        ops.get("/readyz")
        assert ops.readiness.last() == {"audit": True, "redis": False}


# --- metrics


def test_metrics_are_given_in_the_form_that_is_asked_for() -> None:
    metrics = Metrics(version="9", policy="p", policy_digest="0" * 64, tools=(), sources=Sources())
    with listening(metrics=metrics.exposed) as ops:
        plain = ops.get("/metrics")
        opened = ops.get("/metrics", Accept="application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2")
    metrics.close()
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'fsserver_build_info{python="' in plain.text
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")


def test_metrics_that_fail_are_an_error_without_words(caplog: pytest.LogCaptureFixture) -> None:
    def fail(accept: str) -> tuple[str, bytes]:
        raise RuntimeError("inner words")

    with listening(metrics=fail) as ops:
        answer = ops.get("/metrics")
        assert ops.get("/livez").status == 200
    assert answer.status == 500
    assert "inner words" not in answer.text


def test_where_no_thread_could_begin_the_next_one_who_asks_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> int:
        reading = Aside("metrics")
        with monkeypatch.context() as patch:
            let_no_thread_begin(patch)
            with pytest.raises(RuntimeError):
                await reading.ask(lambda: 1)
        async with asyncio.timeout(10):
            return await reading.ask(lambda: 2)

    assert asyncio.run(run()) == 2


# --- who may ask


LOOPBACK, ALL, ONE = Address("127.0.0.1", 9090), Address("0.0.0.0", 9090), Address("10.0.0.7", 9090)


@pytest.mark.parametrize(
    ("listen", "host", "accepted"),
    [
        (LOOPBACK, "127.0.0.1:9090", True),
        (LOOPBACK, "127.0.0.1", True),
        (LOOPBACK, "127.9.9.9", True),
        (LOOPBACK, "localhost:12345", True),
        (LOOPBACK, "LOCALHOST", True),
        (LOOPBACK, "[::1]:9090", True),
        (LOOPBACK, "ops.internal:9999", True),
        (LOOPBACK, "attacker.example:9090", False),
        (LOOPBACK, "localhost.attacker.example", False),
        (LOOPBACK, "127.0.0.1.attacker.example", False),
        (LOOPBACK, "10.0.0.7", False),
        (LOOPBACK, "", False),
        (LOOPBACK, "127.0.0.1:", False),
        (LOOPBACK, "127.0.0.1:port", False),
        (LOOPBACK, "127.0.0.1@attacker.example", False),
        (LOOPBACK, "[::1", False),
        (LOOPBACK, "[localhost]", False),
        (LOOPBACK, "2130706433", False),
        (Address("localhost", 9090), "localhost:9090", True),
        (Address("localhost", 9090), "127.0.0.1", True),
        (Address("::1", 9090), "[::1]:9090", True),
        (ALL, "10.9.8.7:9090", True),
        (ALL, "[fd00::7]:9090", True),
        (ALL, "localhost", True),
        (ALL, "attacker.example", False),
        (ONE, "10.0.0.7:9090", True),
        (ONE, "10.0.0.8", False),
        (ONE, "localhost", False),
    ],
)
def test_host_has_to_be_a_name_of_the_listener(listen: Address, host: str, accepted: bool) -> None:
    assert Hosts(listen, ["ops.internal:8443"]).accept([host.encode()]) is accepted


def test_request_for_another_host_is_told_nothing() -> None:
    with listening(hosts=["ops.internal"]) as ops:
        for target in ("/livez", "/metrics", "/version", "/readyz?verbose", "/nothing"):
            assert ops.get(target, host="attacker.example").status == 421
        assert ops.get("/livez", host="ops.internal:1").status == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: attacker.example\r\nX-Forwarded-Host: localhost\r\n\r\n",
    ],
    ids=["no host", "two hosts", "another header"],
)
def test_host_is_exactly_one_header(request_bytes: bytes) -> None:
    with listening() as ops:
        status = ops.raw(request_bytes).split(b" ")[1]
    assert status in (b"421", b"400")  # the second is the HTTP parser's own refusal
