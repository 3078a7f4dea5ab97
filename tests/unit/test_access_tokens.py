"""Which access tokens of an OAuth issuer are believed. Each attack is a row, against a real issuer on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from fsserver.errors import ConfigError
from fsserver.policy.principals import Identity
from fsserver.policy.service import AuthRules, OAuthRules
from fsserver.transport.auth.authenticator import Authenticator
from fsserver.transport.auth.failures import AuthenticationError, InsufficientScope, Unauthenticated
from tests.issuer import AUDIENCE, Answer, FakeIssuer, ec_key, ed_key, fake_issuer, jwk, rsa_key

Make = Callable[[FakeIssuer], str]
ALL = ("RS256", "PS256", "ES256", "EdDSA")


@pytest.fixture(scope="module")
def issuer() -> Iterator[FakeIssuer]:
    """Nothing but its keys are asked for, so that the tests of a module can share it."""
    with fake_issuer() as made:
        yield made


@pytest.fixture(scope="module")
def genuine(issuer: FakeIssuer) -> str:
    return issuer.token()


@pytest.fixture(scope="module")
def ask(issuer: FakeIssuer) -> Iterator[Callable[[str], Identity]]:
    """As `believed`, by one server for many requests."""
    with asyncio.Runner() as runner:
        authenticator = Authenticator(AuthRules(oauth=(issuer.rules(),)))
        yield lambda token: runner.run(authenticator.authenticate(bearer(token)))


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"mcp.example.org"), (b"authorization", b"Bearer " + token.encode())]


def believed(token: str, *rules: OAuthRules) -> Identity:
    return asyncio.run(Authenticator(AuthRules(oauth=rules)).authenticate(bearer(token)))


def refused(token: str, *rules: OAuthRules) -> AuthenticationError:
    """The refusal. It is of a form that a header can hold, and there is nothing of the token in it."""
    with pytest.raises(AuthenticationError) as caught:
        believed(token, *rules)
    failure = caught.value
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", failure.description)
    assert not [part for part in re.split(r"[._-]", token) if len(part) > 12 and part in failure.description]
    return failure


def b64(data: bytes | Mapping[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def assembled(header: bytes | Mapping[str, Any], claims: bytes | Mapping[str, Any], signature: bytes = b"") -> str:
    return f"{b64(header)}.{b64(claims)}.{b64(signature)}"


def with_hmac(issuer: FakeIssuer, secret: bytes) -> str:
    text = assembled({"alg": "HS256", "typ": "at+jwt", "kid": "first"}, issuer.claims()).rstrip(".")
    return f"{text}.{b64(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


# --- What is believed.


def test_identity_is_what_the_token_says(issuer: FakeIssuer) -> None:
    before = time.time()
    identity = believed(issuer.token(team="red"), issuer.rules())
    assert identity.name == f"{issuer.url}#alice"
    assert (identity.issuer, identity.subject, identity.client, identity.token) == (issuer.url, "alice", "app", None)
    assert identity.claims["team"] == "red"
    assert identity.only_issuer
    assert identity.expires is not None
    assert 299 <= identity.expires - 5.0 - before <= 301


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda of: of.token(header={"typ": "JWT"}), id="typ JWT"),
        pytest.param(lambda of: of.token(header={"typ": "jwt"}), id="typ jwt"),
        pytest.param(lambda of: of.token(header={"typ": ""}), id="no typ"),
        pytest.param(lambda of: of.token(header={"typ": "application/at+JWT"}), id="typ as a media type"),
        pytest.param(lambda of: of.token(aud=["https://else.example.org", AUDIENCE]), id="audience in a list"),
        pytest.param(lambda of: of.token(exp=int(time.time()) - 3), id="expired within the leeway"),
        pytest.param(lambda of: of.token(nbf=int(time.time()) + 3), id="not yet valid within the leeway"),
        pytest.param(lambda of: of.token(exp=time.time() + 60.5), id="time with a fraction"),
        pytest.param(lambda of: of.token(iat=None), id="no iat"),
        pytest.param(lambda of: of.token(nonce="n"), id="nonce in what says that it is an access token"),
        pytest.param(lambda of: of.token(header={"typ": "JWT"}, typ="Bearer"), id="Keycloak"),
        pytest.param(lambda of: of.token(header={"typ": ""}, token_use="access"), id="Cognito"),
        pytest.param(lambda of: of.token(header={"x5t": "abc"}), id="thumbprint of a certificate"),
        pytest.param(lambda of: of.token(sub="s" * 255), id="longest subject"),
    ],
)
def test_genuine_access_token_is_believed(issuer: FakeIssuer, make: Make) -> None:
    assert believed(make(issuer), issuer.rules()).issuer == issuer.url


@pytest.mark.parametrize("algorithm", ALL)
def test_each_algorithm_that_is_listed_works(algorithm: str) -> None:
    keys = {"ES256": ec_key(), "EdDSA": ed_key()}
    with fake_issuer() as issuer:
        issuer.list_keys(jwk(rsa_key(), "RS256"), jwk(ec_key(), "ES256"), jwk(ed_key(), "EdDSA"))
        kid = algorithm if algorithm in keys else "RS256"
        token = issuer.token(key=keys.get(algorithm, rsa_key()), algorithm=algorithm, header={"kid": kid})
        assert believed(token, issuer.rules(algorithms=ALL)).subject == "alice"
        others = tuple(name for name in ALL if name != algorithm)
        assert "algorithm" in refused(token, issuer.rules(algorithms=others)).description


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        pytest.param({"sub": "bob"}, "#bob", id="subject"),
        pytest.param({"sub": "bob", "client_id": None}, "#bob", id="subject without a client"),
        pytest.param({"sub": None}, "?client_id=app", id="client"),
        pytest.param({"sub": None, "client_id": None, "azp": "web"}, "?client_id=web", id="authorized party"),
        pytest.param({"sub": "?client_id=app"}, "#?client_id=app", id="subject that looks like a client"),
        pytest.param({"sub": "#x"}, "##x", id="subject with a mark"),
    ],
)
def test_principal_is_named_by_issuer_and_subject_or_client(
    issuer: FakeIssuer, claims: dict[str, Any], name: str
) -> None:
    assert believed(issuer.token(**claims), issuer.rules()).name == issuer.url + name


@pytest.mark.parametrize(
    ("claims", "enough"),
    [
        pytest.param({"scope": "read fsserver write"}, True, id="scope"),
        pytest.param({"scp": ["write", "fsserver", "read"]}, True, id="scp, list"),
        pytest.param({"scp": "fsserver read write"}, True, id="scp, text"),
        pytest.param({"scope": "read fsserver"}, False, id="one is missing"),
        pytest.param({}, False, id="none"),
        pytest.param({"scope": "read-fsserver write"}, False, id="part of a word"),
        pytest.param({"scope": "READ FSSERVER WRITE"}, False, id="other case"),
        pytest.param({"scope": "", "scp": ["read", "fsserver", "write"]}, False, id="scope before scp"),
        pytest.param({"scope": {"read": 1, "fsserver": 1, "write": 1}}, False, id="object"),
        pytest.param({"scp": [["read"], None, 1]}, False, id="list of other things"),
    ],
)
def test_token_has_all_scopes_or_is_refused_as_insufficient(
    issuer: FakeIssuer, claims: dict[str, Any], enough: bool
) -> None:
    rules = issuer.rules(scopes=("read", "fsserver", "write"))
    if enough:
        assert believed(issuer.token(**claims), rules).subject == "alice"
    else:
        failure = refused(issuer.token(**claims), rules)
        assert isinstance(failure, InsufficientScope)
        assert (failure.status, failure.scopes) == (403, ("read", "fsserver", "write"))


# --- What is not.


def without_signature(of: FakeIssuer) -> str:
    return of.token().rsplit(".", 1)[0] + "."


def other_claims(of: FakeIssuer) -> str:
    header, _, signature = of.token().split(".")
    return f"{header}.{b64(of.claims(sub='admin'))}.{signature}"


def other_header(of: FakeIssuer) -> str:
    _, claims, signature = of.token().split(".")
    return f"{b64({'alg': 'RS256', 'kid': 'first', 'typ': 'JWT', 'x': 1})}.{claims}.{signature}"


FORGED: dict[str, tuple[Make, str]] = {
    "alg none": (lambda of: assembled({"alg": "none", "kid": "first"}, of.claims()), "algorithm"),
    "alg None in other case": (lambda of: assembled({"alg": "nOnE", "kid": "first"}, of.claims()), "algorithm"),
    "alg missing": (lambda of: assembled({"kid": "first"}, of.claims(), b"x"), "algorithm"),
    "alg in a list": (lambda of: assembled({"alg": ["RS256"], "kid": "first"}, of.claims(), b"x"), "algorithm"),
    "HS256 with the public key's PEM as the secret": (lambda of: with_hmac(of, pem(rsa_key())), "algorithm"),
    "HS256 with the modulus as the secret": (lambda of: with_hmac(of, jwk(rsa_key())["n"].encode()), "algorithm"),
    "RS512, which is not listed": (lambda of: of.token(algorithm="RS512"), "algorithm"),
    "ES256 under the id of an RSA key": (lambda of: of.token(key=ec_key(), algorithm="ES256"), "does not list"),
    "signature of another key": (lambda of: of.token(key=rsa_key(1)), "signature"),
    "signature left out": (without_signature, "signature"),
    "other claims under the signature": (other_claims, "signature"),
    "other header under the signature": (other_header, "signature"),
    "unknown key id": (lambda of: of.token(header={"kid": "second"}), "does not list"),
    "key id that is a path": (lambda of: of.token(header={"kid": "../../dev/null"}), "does not list"),
    "key id that is a number": (lambda of: assembled({"alg": "RS256", "kid": 1}, of.claims(), b"x"), "no signed JWT"),
    "own key in jwk": (lambda of: of.token(key=rsa_key(1), header={"jwk": jwk(rsa_key(1))}), "signature"),
    "own key in jwk under its own id": (
        lambda of: of.token(key=rsa_key(1), header={"kid": "own", "jwk": jwk(rsa_key(1), "own")}),
        "does not list",
    ),
    "crit": (lambda of: of.token(header={"crit": ["exp"], "exp": 1}), "no signed JWT"),
    "crit with what the library knows": (
        lambda of: assembled({"alg": "RS256", "kid": "first", "crit": ["b64"], "b64": True}, of.claims(), b"x"),
        "not understood",
    ),
    "payload elsewhere": (
        lambda of: f"{b64({'alg': 'RS256', 'kid': 'first', 'crit': ['b64'], 'b64': False})}..{b64(b'x')}",
        "no signed JWT",
    ),
}

CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://evil.example.org"}, "does not trust"),
    "issuer with a slash": ({"iss": "+/"}, "does not trust"),
    "no issuer": ({"iss": None}, "does not trust"),
    "another audience": ({"aud": "https://other.example.org/mcp"}, "not for this server"),
    "audience that begins so": ({"aud": AUDIENCE + "/x"}, "not for this server"),
    "list of other audiences": ({"aud": ["a", "b"]}, "not for this server"),
    "no audience": ({"aud": None}, "no aud"),
    "empty audience": ({"aud": ""}, "no aud"),
    "audience in an object": ({"aud": {AUDIENCE: 1}}, "not for this server"),
    "list with more than texts": ({"aud": [AUDIENCE, 1]}, "not for this server"),
    "expired": ({"exp": 1_700_000_000}, "expired"),
    "expired a moment beyond the leeway": ({"exp": -6}, "expired"),
    "no exp": ({"exp": None}, "no exp"),
    "exp that is a text": ({"exp": "99999999999"}, "malformed"),
    "exp that is true": ({"exp": True}, "expired"),
    "exp that is endless": ({"exp": float("inf")}, "malformed"),
    "exp that is no number": ({"exp": float("nan")}, "malformed"),
    "exp beyond all numbers": ({"exp": 10**400}, "malformed"),
    "exp in a list": ({"exp": [99999999999]}, "malformed"),
    "not valid yet": ({"nbf": +3600}, "not valid yet"),
    "nbf that is a text": ({"nbf": "1"}, "malformed"),
    "made in the future": ({"iat": +3600}, "not valid yet"),
    "iat that is a text": ({"iat": "1"}, "malformed"),
    "bound to a key of the client": ({"cnf": {"jkt": "x"}}, "bound"),
    "neither subject nor client": ({"sub": None, "client_id": None}, "neither"),
    "subject that is a number": ({"sub": 7}, "malformed"),
    "empty subject": ({"sub": ""}, "plain text"),
    "subject with a line feed": ({"sub": "a\nb"}, "plain text"),
    "subject that turns the text round": ({"sub": "a\u202eb"}, "plain text"),
    "subject too long": ({"sub": "s" * 256}, "plain text"),
    "client in a list": ({"client_id": ["app"]}, "plain text"),
}

OTHER_THINGS: dict[str, dict[str, Any]] = {
    "ID token with a nonce": {"nonce": "n"},
    "ID token with a hash of an access token": {"at_hash": "h"},
    "ID token with a hash of a code": {"c_hash": "h"},
    "ID token of Cognito": {"token_use": "id"},
    "ID token of Keycloak": {"typ": "ID"},
    "refresh token of Keycloak": {"typ": "Refresh"},
}

NO_TOKENS = [
    "x",
    "a.b",
    "a.b.c",
    "..",
    "...",
    "a.b.c.d.e",
    "eyJhbGciOiJub25lIn0",
    "e30.e30.",
    "bnVsbA.bnVsbA.",
    "W10.W10.",
]


def relative(issuer: FakeIssuer, claims: dict[str, Any]) -> dict[str, Any]:
    """Small numbers in the place of times are seconds from now, and ``+`` is the issuer."""
    now = int(time.time())
    times = {
        name: now + value
        for name, value in claims.items()
        if name in ("exp", "nbf", "iat") and type(value) is int and abs(value) < 10_000
    }
    whose = {"iss": claims["iss"].replace("+", issuer.url)} if isinstance(claims.get("iss"), str) else {}
    return {**claims, **times, **whose}


@pytest.mark.parametrize("name", FORGED)
def test_forged_token_is_refused(issuer: FakeIssuer, name: str) -> None:
    make, reason = FORGED[name]
    failure = refused(make(issuer), issuer.rules())
    assert (failure.status, failure.error) == (401, "invalid_token")
    assert reason in failure.description


@pytest.mark.parametrize("name", CLAIMS)
def test_genuine_token_with_other_claims_is_refused(issuer: FakeIssuer, name: str) -> None:
    claims, reason = CLAIMS[name]
    failure = refused(issuer.token(**relative(issuer, claims)), issuer.rules())
    assert (failure.status, failure.error) == (401, "invalid_token")
    assert reason in failure.description


@pytest.mark.parametrize("name", OTHER_THINGS)
@pytest.mark.parametrize("kind", ["JWT", ""])
def test_what_the_issuer_signs_for_another_purpose_is_refused(issuer: FakeIssuer, name: str, kind: str) -> None:
    token = issuer.token(header={"typ": kind}, **OTHER_THINGS[name])
    assert refused(token, issuer.rules()).description == "The token is no access token."


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", "id_token", "JWT ", 7, ["JWT"], {}])
def test_header_of_another_type_is_refused(issuer: FakeIssuer, kind: Any) -> None:
    token = assembled({"alg": "RS256", "kid": "first", "typ": kind}, issuer.claims(), b"x")
    assert refused(token, issuer.rules()).description == "The token is no access token."


@pytest.mark.parametrize("token", NO_TOKENS)
def test_what_is_no_jwt_is_refused(issuer: FakeIssuer, token: str) -> None:
    assert isinstance(refused(token, issuer.rules()), Unauthenticated)


@pytest.mark.parametrize("where", ["header", "claims"])
def test_deep_json_is_refused(issuer: FakeIssuer, where: str) -> None:
    deep = b'{"a":' + b"[" * 2500 + b"]" * 2500 + b"}"
    parts: dict[str, Any] = {"header": {"alg": "RS256", "kid": "first"}, "claims": issuer.claims(), where: deep}
    assert isinstance(refused(assembled(parts["header"], parts["claims"], b"x"), issuer.rules()), Unauthenticated)


@pytest.mark.parametrize("header", ["jku", "x5u"])
def test_address_of_a_key_in_a_token_is_never_asked(issuer: FakeIssuer, header: str) -> None:
    with fake_issuer() as attacker:
        attacker.list_keys(jwk(rsa_key(1), "own"))
        token = issuer.token(key=rsa_key(1), header={"kid": "own", header: attacker.jwks})
        assert "does not list" in refused(token, issuer.rules()).description
        assert attacker.asked == []


def test_token_that_names_no_key_is_believed_only_if_there_is_one() -> None:
    with fake_issuer() as issuer:
        token = issuer.token(header={"kid": None})
        assert believed(token, issuer.rules()).subject == "alice"
        issuer.list_keys(jwk(rsa_key()), jwk(ec_key(), "elliptic"))
        assert believed(token, issuer.rules()).subject == "alice"
        issuer.list_keys(jwk(rsa_key()), jwk(rsa_key(1), "second"))
        assert "does not list" in refused(token, issuer.rules()).description


def test_keys_that_share_an_id_are_each_tried() -> None:
    with fake_issuer() as issuer:
        issuer.list_keys(jwk(ec_key()), jwk(rsa_key(1)), jwk(rsa_key()))
        assert believed(issuer.token(), issuer.rules()).subject == "alice"
        assert believed(issuer.token(key=ec_key(), algorithm="ES256"), issuer.rules()).subject == "alice"
        assert "signature" in refused(issuer.token(key=rsa_key(2)), issuer.rules()).description


def test_key_of_one_issuer_does_not_sign_for_another() -> None:
    with fake_issuer() as first, fake_issuer() as second:
        second.list_keys(jwk(rsa_key(1)))
        rules = (first.rules(), second.rules())
        assert believed(first.token(), *rules).name == f"{first.url}#alice"
        assert believed(second.token(key=rsa_key(1)), *rules).name == f"{second.url}#alice"
        assert "signature" in refused(first.token(key=rsa_key(1)), *rules).description
        assert "signature" in refused(second.token(), *rules).description
        assert not believed(first.token(), *rules).only_issuer


def test_one_issuer_may_have_two_audiences_with_scopes_of_their_own(issuer: FakeIssuer) -> None:
    rules = (issuer.rules(audience="a", scopes=("all",)), issuer.rules(audience="b"))
    assert believed(issuer.token(aud="b"), *rules).only_issuer
    assert believed(issuer.token(aud="a", scope="all"), *rules).subject == "alice"
    assert isinstance(refused(issuer.token(aud="a"), *rules), InsufficientScope)
    assert "not for this server" in refused(issuer.token(aud="c"), *rules).description


def test_no_token_is_logged(issuer: FakeIssuer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for token in (issuer.token(), issuer.token(aud="x"), issuer.token(header={"kid": "unknown"})):
        with contextlib.suppress(AuthenticationError):
            believed(token, issuer.rules())
        assert not [part for part in token.split(".") if part in caplog.text]


# --- Whatever comes.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
NAMES = ("aud", "exp", "nbf", "iat", "sub", "client_id", "azp", "scope", "scp", "cnf", "nonce", "typ", "jti")


@settings(max_examples=150)
@given(changed=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4), kind=JSON)
def test_whatever_a_genuine_token_holds_it_is_believed_or_refused(
    issuer: FakeIssuer, ask: Callable[[str], Identity], changed: dict[str, Any], kind: Any
) -> None:
    token = issuer.token(header={"x": kind}, **changed)
    with contextlib.suppress(AuthenticationError):
        identity = ask(token)
        assert identity.name in (f"{issuer.url}#{identity.subject}", f"{issuer.url}?client_id={identity.client}")
        assert identity.name.isprintable()


@settings(max_examples=150)
@given(data=st.data())
def test_no_changed_character_leaves_a_token_believed(
    genuine: str, ask: Callable[[str], Identity], data: st.DataObject
) -> None:
    assert ask(genuine).subject == "alice"
    place = data.draw(st.integers(0, len(genuine) - 1))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_.~").filter(lambda each: each != genuine[place]))
    with pytest.raises(AuthenticationError):
        ask(genuine[:place] + other + genuine[place + 1 :])


# --- What the operator wrote.


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param({"issuer": "http://id.example.org"}, id="issuer without TLS"),
        pytest.param({"issuer": "https://id.example.org#x"}, id="issuer with a fragment"),
        pytest.param({"issuer": "https://id.example.org?x"}, id="issuer with a query"),
        pytest.param({"issuer": "id.example.org"}, id="no URL"),
        pytest.param({"jwks": "http://id.example.org/jwks"}, id="keys without TLS"),
        pytest.param({"jwks": "file:///etc/passwd"}, id="keys in a file"),
        pytest.param({"jwks": "https://user@id.example.org/jwks"}, id="keys with a user"),
        pytest.param({"jwks": "https://id.example.org/a b"}, id="space"),
        pytest.param({"jwks": "https://id.example.org:x/"}, id="port that is none"),
        pytest.param({"algorithms": ("RS256", "HS256")}, id="symmetric algorithm"),
        pytest.param({"algorithms": ("none",)}, id="no algorithm"),
        pytest.param({"algorithms": ()}, id="empty list"),
        pytest.param({"audience": ""}, id="no audience"),
    ],
)
def test_issuer_that_cannot_be_trusted_is_a_mistake_in_the_policy(rules: dict[str, Any]) -> None:
    whole = OAuthRules(**{"issuer": "https://id.example.org", "audience": AUDIENCE, **rules})
    with pytest.raises(ConfigError):
        Authenticator(AuthRules(oauth=(whole,)))


def test_ports_are_those_of_issuers_and_keys() -> None:
    rules = (
        OAuthRules("https://id.example.org", AUDIENCE, "https://keys.example.org:8443/jwks"),
        OAuthRules("http://127.0.0.1:9000/tenant", AUDIENCE),
    )
    assert Authenticator(AuthRules(oauth=rules)).ports == {443, 8443, 9000}


def test_answer_with_a_redirect_to_other_keys_is_not_followed() -> None:
    with fake_issuer() as issuer, fake_issuer() as attacker:
        attacker.list_keys(jwk(rsa_key(1)))
        issuer.answers["/jwks"] = Answer(status=302, headers={"Location": attacker.jwks})
        assert refused(issuer.token(key=rsa_key(1)), issuer.rules()).status == 503
        assert attacker.asked == []
