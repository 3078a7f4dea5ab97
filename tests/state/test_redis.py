"""What replicas share, with a real server: two states on it are two replicas."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fsserver.errors import ConfigError, SharedStateError
from fsserver.paths.workspace import Workspace
from fsserver.policy.service import Rate, SharedRules, WithoutState
from fsserver.server.sealing import Seal, bound_to
from fsserver.state.opening import open_state
from fsserver.state.redis import PAUSE_S, TIMEOUT_S, RedisState, _until_some
from fsserver.state.shared import Held, SharedState
from fsserver.tools.approval import Answer, ConsentNeeded, Question
from fsserver.tools.session import Session
from tests.redis_server import RedisServer, redis_server
from tests.support import wait_until

ONE = Held("handle", ("alice", "s"))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def replicas(server: RedisServer) -> Iterator[tuple[SharedState, SharedState]]:
    with_both = [open_state(SharedRules(redis=server.url), name) for name in ("a", "b")]
    yield with_both[0], with_both[1]
    for each in with_both:
        each.close()


@pytest.fixture
def local(server: RedisServer) -> Iterator[SharedState]:
    """One that counts alone while the server is gone."""
    state = open_state(SharedRules(redis=server.url, on_failure=WithoutState.LOCAL), "c")
    yield state
    state.close()


def test_what_is_spent_at_one_replica_is_spent_at_all(replicas: tuple[SharedState, SharedState]) -> None:
    here, there = replicas
    assert here.spend("k", 60)
    assert not there.spend("k", 60)
    assert not here.spend("k", 60)
    assert there.spend("other", 60)


def test_of_many_that_spend_at_once_one_succeeds(replicas: tuple[SharedState, SharedState]) -> None:
    together = threading.Barrier(16)

    def spend(number: int) -> bool:
        together.wait(10)
        return replicas[number % 2].spend("k", 60)

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(spend, range(16))) == 1


def test_spent_key_is_remembered_for_its_time_and_no_longer(
    server: RedisServer, replicas: tuple[SharedState, SharedState]
) -> None:
    assert replicas[0].spend("long", 60)
    assert replicas[0].spend("short", 0.05)
    wait_until(lambda: replicas[1].spend("short", 60), "the short one is over")
    with redis.Redis(port=server.port) as client:
        assert all(0 < client.pttl(key) <= 60_000 for key in client.scan_iter("fsserver:spent:*"))


def test_replicas_count_calls_together(replicas: tuple[SharedState, SharedState]) -> None:
    here, there = replicas
    rate = Rate(5, 60)
    assert [state.take("k", rate) for state in (here, there, here, there, here)] == [0.0] * 5
    assert 55 < there.take("k", rate) <= 60
    assert 55 < here.take("k", rate) <= 60
    assert there.take("k2", rate) == 0


def test_of_calls_at_once_as_many_are_taken_as_the_rate_has(replicas: tuple[SharedState, SharedState]) -> None:
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda number: replicas[number % 2].take("k", Rate(20, 60)), range(64)))
    assert waits.count(0.0) == 20


def test_what_was_taken_is_given_back_when_its_time_is_over(replicas: tuple[SharedState, SharedState]) -> None:
    rate = Rate(2, 1)
    assert [replicas[0].take("k", rate), replicas[1].take("k", rate)] == [0.0, 0.0]
    assert 0 < replicas[0].take("k", rate) <= 1
    wait_until(lambda: replicas[1].take("k", rate) == 0, "a second is over")


def test_output_is_counted_together_and_beyond_the_rate(replicas: tuple[SharedState, SharedState]) -> None:
    here, there = replicas
    rate = Rate(1000, 3600)
    here.use("k", rate, 600)
    assert there.used_up("k", rate) == 0
    there.use("k", rate, 5000)
    assert 0 < here.used_up("k", rate) <= 2 * 3600
    assert there.used_up("other", rate) == 0
    here.use("k", rate, 0)


def test_output_that_was_used_becomes_free_again(replicas: tuple[SharedState, SharedState]) -> None:
    rate = Rate(10, 1)
    replicas[0].use("k", rate, 12)
    wait_s = replicas[1].used_up("k", rate)
    assert 0 < wait_s <= 2
    wait_until(lambda: replicas[1].used_up("k", rate) == 0, "two seconds are over")


@pytest.mark.parametrize(
    ("before", "before_s", "now", "now_s", "wait_s"),
    [
        pytest.param(0, 0.0, 0, 0.0, 0.0, id="nothing"),
        pytest.param(0, 0.0, 99, 20.0, 0.0, id="one left"),
        pytest.param(0, 0.0, 100, 20.0, 10.0, id="all of it just now: until this window is the earlier one"),
        pytest.param(0, 0.0, 200, 20.0, 15.0, id="twice as much: until half of it counts"),
        pytest.param(100, 10.0, 0, 20.0, 0.001, id="an earlier window that counts whole"),
        pytest.param(200, 8.0, 50, 18.0, 5.5, id="both"),
    ],
)
def test_wait_is_until_less_than_the_amount_counts(
    before: int, before_s: float, now: int, now_s: float, wait_s: float
) -> None:
    rate = Rate(100, 10)
    assert _until_some(rate, before, before_s, now, now_s) == pytest.approx(wait_s)


def test_process_is_found_by_its_owner_alone(replicas: tuple[SharedState, SharedState]) -> None:
    here, there = replicas
    here.announce([ONE, Held("second", ("alice", "s"))], 60)
    assert there.find(ONE) == "a"
    assert here.find(ONE) == "a"
    assert there.find(ONE._replace(owner=("mallory", "s"))) is None
    assert there.find(ONE._replace(owner=("alice", "s2"))) is None
    assert there.find(ONE._replace(handle="guessed")) is None
    here.forget([ONE])
    assert there.find(ONE) is None
    assert there.find(Held("second", ("alice", "s"))) == "a"
    here.forget([])


def test_process_of_a_replica_that_died_is_forgotten(replicas: tuple[SharedState, SharedState]) -> None:
    replicas[0].announce([ONE], 1.0)
    assert replicas[1].find(ONE) == "a"
    wait_until(lambda: replicas[1].find(ONE) is None, "nobody announced it again")


def test_keys_tell_no_names_and_all_expire(server: RedisServer, replicas: tuple[SharedState, SharedState]) -> None:
    state = replicas[0]
    state.spend("question", 60)
    state.take("0" * 32, Rate(5, 60))
    state.use("0" * 32, Rate(5, 60), 3)
    state.announce([ONE], 60)
    with redis.Redis(port=server.port) as client:
        keys = list(client.scan_iter("*"))
        assert len(keys) == 4
        assert all(key.startswith(b"fsserver:") for key in keys)
        assert not [key for key in keys for word in (b"alice", b"handle", b"question") if word in key]
        assert all(client.ttl(key) > 0 for key in keys)


def test_without_the_server_calls_are_refused_and_go_on_when_it_is_back(
    server: RedisServer, replicas: tuple[SharedState, SharedState], caplog: pytest.LogCaptureFixture
) -> None:
    state = replicas[0]
    assert state.take("k", Rate(5, 60)) == 0
    server.stop()
    for _ in range(3):
        with pytest.raises(SharedStateError) as caught:
            state.take("k", Rate(5, 60))
    assert caught.value.transient
    assert str(server.port) not in caught.value.message
    with pytest.raises(SharedStateError):
        state.find(ONE)
    assert not state.status().ok
    assert [record.levelno for record in caplog.records if "cannot be reached" in record.message] == [logging.ERROR]
    server.start()
    wait_until(lambda: state.status().ok, "it is used again")
    assert state.take("k", Rate(5, 60)) == 0
    assert state.spend("k", 60)
    assert any("is back" in record.message for record in caplog.records)


def test_without_the_server_a_process_counts_alone_where_the_policy_says_so(
    server: RedisServer, local: SharedState, caplog: pytest.LogCaptureFixture
) -> None:
    rate = Rate(2, 60)
    assert [local.take("k", rate) for _ in range(2)] == [0.0, 0.0]
    server.stop()
    assert [local.take("k", rate) for _ in range(2)] == [0.0, 0.0]
    assert local.take("k", rate) > 0
    local.use("k", rate, 9)
    assert local.used_up("k", rate) > 0
    local.announce([ONE], 60)
    assert local.find(ONE) is None
    health = local.status()
    assert health.ok
    assert "alone" in health.text
    assert sum("cannot be reached" in record.message for record in caplog.records) == 1
    server.start()
    wait_until(lambda: "in Redis" in local.status().text, "it is used again")
    assert local.take("k", rate) == 0, "the server forgot what it had counted, and nothing else is asked"


def test_no_key_is_spent_while_nobody_knows_which_are(server: RedisServer, local: SharedState) -> None:
    assert local.spend("k", 60)
    server.stop()
    for _ in range(2):
        with pytest.raises(SharedStateError):
            local.spend("new", 60)
    server.start()
    wait_until(lambda: "in Redis" in local.status().text, "it is used again")
    assert local.spend("new", 60)


def test_server_that_hangs_holds_up_one_call_for_its_time_and_no_other(
    server: RedisServer, replicas: tuple[SharedState, SharedState]
) -> None:
    state = replicas[0]
    state.take("k", Rate(5, 60))
    server.hang()
    try:
        began = time.monotonic()
        with pytest.raises(SharedStateError):
            state.take("k", Rate(5, 60))
        first_s = time.monotonic() - began
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(SharedStateError):
                state.take("k", Rate(5, 60))
        others_s = time.monotonic() - began
    finally:
        server.go_on()
    assert first_s < 4 * TIMEOUT_S
    assert others_s < PAUSE_S / 2
    wait_until(lambda: state.status().ok, "it is used again")
    assert state.take("k", Rate(50, 60)) == 0


def test_while_one_call_finds_out_the_others_do_not_wait(server: RedisServer) -> None:
    state = open_state(SharedRules(redis=server.url), "a")
    server.hang()
    try:
        with pytest.raises(SharedStateError):
            state.take("k", Rate(5, 60))
        assert isinstance(state, RedisState)
        state._next_try = 0.0  # as if the pause were over

        def timed(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(SharedStateError):
                state.take("k", Rate(5, 60))
            return time.monotonic() - began

        with ThreadPoolExecutor(8) as pool:
            waits = sorted(pool.map(timed, range(8)))
    finally:
        server.go_on()
        state.close()
    assert waits[-2] < TIMEOUT_S / 2 < waits[-1]


def test_server_that_takes_no_writes_is_not_well_and_is_let_go_of(
    server: RedisServer, replicas: tuple[SharedState, SharedState]
) -> None:
    """As after a failover: the old one is read-only, answers a ping, and the address leads to another."""
    state = replicas[0]
    assert state.take("k", Rate(5, 60)) == 0
    with redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", "1")
        for _ in range(2):
            with pytest.raises(SharedStateError):
                state.take("k", Rate(5, 60))
            assert isinstance(state, RedisState)
            state._next_try = 0.0  # as if the pause were over
            assert not state.status().ok
        assert len(client.client_list(_type="normal")) == 1, "nothing but this client is connected"
        client.replicaof("NO", "ONE")
    wait_until(lambda: state.status().ok, "it is used again")


def test_as_many_as_there_can_be_ask_at_once(replicas: tuple[SharedState, SharedState]) -> None:
    asking, together = 256, threading.Barrier(256)  # limits.calls.concurrency

    def take(_: int) -> float:
        together.wait(10)
        return replicas[0].take("k", Rate(1000, 60))

    with ThreadPoolExecutor(asking) as pool:
        assert sum(pool.map(take, range(asking))) == 0


def test_password_is_read_from_its_file_and_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret words\n")
    file.chmod(0o600)
    with redis_server("--requirepass", "s3cret words") as server:
        rules = SharedRules(redis=server.url, password=str(file))
        state = open_state(rules, "a")
        file.unlink()
        assert state.spend("k", 60)
        state.close()
        wrong = open_state(replace(rules, password=None), "b")
        with pytest.raises(SharedStateError):
            wrong.spend("k2", 60)
        assert not wrong.status().ok
        wrong.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/0",
        "redis://",
        "redis://:secret@127.0.0.1/0",
        "redis://127.0.0.1:x/0",
        "redis://127.0.0.1/zero",
    ],
)
def test_url_that_is_none_of_redis_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError, match=r"state\.redis"):
        open_state(SharedRules(redis=url), "a")


def test_options_in_a_url_change_nothing(server: RedisServer) -> None:
    state = open_state(SharedRules(redis=f"{server.url}?socket_timeout=60&db=3&password=x"), "a")
    assert isinstance(state, RedisState)
    assert state.spend("k", 60)
    settings = state._redis.connection_pool.connection_kwargs
    assert (settings["socket_timeout"], settings["db"], settings["password"]) == (TIMEOUT_S, 0, None)
    state.close()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"fsserver\[redis\]"):
        open_state(SharedRules(redis="redis://127.0.0.1/0"), "a")


def signed(directory: Path, name: str) -> Path:
    """An authority ``name.crt``, and below it a certificate for 127.0.0.1 in ``name-server.crt`` and ``.key``."""
    key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        return builder.serial_number(x509.random_serial_number())

    authority = certificate(issuer, key.public_key()).add_extension(x509.BasicConstraints(True, None), critical=True)
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = certificate(x509.Name([]), server_key.public_key()).add_extension(host, critical=True)
    (directory / f"{name}.crt").write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (directory / f"{name}-server.crt").write_bytes(leaf.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    secret = server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / f"{name}-server.key").write_bytes(secret)
    return directory / f"{name}.crt"


def test_tls_trusts_who_the_policy_names_and_nobody_else(open_tmp_path: Path) -> None:
    ours, others = signed(open_tmp_path, "ours"), signed(open_tmp_path, "others")
    files = ["--tls-cert-file", str(open_tmp_path / "ours-server.crt")]
    files += ["--tls-key-file", str(open_tmp_path / "ours-server.key"), "--tls-auth-clients", "no"]
    with redis_server(*files, "--tls-ca-cert-file", str(ours)) as server:
        right = open_state(SharedRules(redis=server.url, ca=str(ours)), "a")
        wrong = [open_state(SharedRules(redis=server.url, ca=ca), "b") for ca in (str(others), None)]
        plain = open_state(SharedRules(redis=server.url.replace("rediss", "redis")), "c")
        ours.unlink()
        try:
            assert right.spend("k", 60)
            for each in (*wrong, plain):
                with pytest.raises(SharedStateError):
                    each.spend("k2", 60)
        finally:
            for each in (right, *wrong, plain):
                each.close()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_file_of_authorities_that_holds_none_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        open_state(SharedRules(redis="rediss://127.0.0.1/0", ca=str(file)), "a")


def test_answer_is_used_once_at_all_replicas_and_not_while_the_server_is_gone(
    server: RedisServer, replicas: tuple[SharedState, SharedState]
) -> None:
    needed = ConsentNeeded(7, "delete_file", (Question("delete:\n/a", "p.yaml:3", None),), "d" * 64)
    bound = bound_to(Session("s1", "alice", None, None, Workspace(())), "delete_file", {"path": "a"})
    here, there = (Seal.of(60, bytes(32), each) for each in replicas)
    first, second = here.make(needed, bound), here.make(needed, bound)
    assert there.open(first, bound, Answer.ACCEPTED, "alice").answer is Answer.ACCEPTED
    assert here.open(first, bound, Answer.ACCEPTED, "alice").answer is Answer.USED
    server.stop()
    assert here.open(second, bound, Answer.ACCEPTED, "alice").answer is Answer.UNREACHABLE
    server.start()
    wait_until(lambda: replicas[0].status().ok, "it is used again")
    assert here.open(second, bound, Answer.ACCEPTED, "alice").answer is Answer.ACCEPTED
