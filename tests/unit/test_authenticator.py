"""Which requests have a sender: the header, static tokens, and what a client is told to do."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.errors import ConfigError
from fsserver.policy.principals import ANONYMOUS, Identity
from fsserver.policy.service import AuthRules, OAuthRules, ServerRules
from fsserver.transport.auth.authenticator import Authenticator
from fsserver.transport.auth.bearer import MAX_TOKEN, bearer_token
from fsserver.transport.auth.failures import (
    AuthenticationError,
    InsufficientScope,
    KeysUnavailable,
    MalformedCredentials,
    Unauthenticated,
)
from fsserver.transport.auth.metadata import challenge, metadata_path, resource_metadata
from fsserver.transport.auth.static_tokens import StaticTokens
from fsserver.transport.auth.token_file import add_token, digest_of, remove_token

Headers = list[tuple[bytes, bytes]]


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "tokens")


def asked(authenticator: Authenticator, *values: bytes) -> Identity:
    headers = [(b"host", b"x"), *((b"authorization", value) for value in values)]
    return asyncio.run(authenticator.authenticate(headers))


# --- The header.


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer abc.DEF_-~+/=="),
        (b"Authorization", b"Bearer abc.DEF_-~+/=="),
        (b"AUTHORIZATION", b"bearer abc.DEF_-~+/=="),
        (b"authorization", b"BEARER   abc.DEF_-~+/== "),
    ],
    ids=["usual", "capital", "lower case scheme", "spaces"],
)
def test_token_is_read_in_each_spelling(header: tuple[bytes, bytes]) -> None:
    assert bearer_token([(b"host", b"x"), header]) == "abc.DEF_-~+/=="


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="none"),
        pytest.param([(b"authorization", b"Basic dXNlcjpwYXNz")], id="Basic"),
        pytest.param([(b"authorization", b"DPoP abc")], id="DPoP"),
        pytest.param([(b"authorization", b"abc")], id="token without a scheme"),
        pytest.param([(b"authorization", b"")], id="empty"),
        pytest.param([(b"authorization", b"Bearerabc")], id="no space"),
        pytest.param([(b"authorization", b"Bearer\tabc")], id="tab"),
        pytest.param([(b"x-authorization", b"Bearer abc")], id="another header"),
        pytest.param([(b"proxy-authorization", b"Bearer abc")], id="the proxy's header"),
        pytest.param([(b"cookie", b"authorization=Bearer abc")], id="cookie"),
    ],
)
def test_request_without_a_bearer_token_is_told_that_it_needs_one(headers: Headers) -> None:
    with pytest.raises(Unauthenticated) as failure:
        bearer_token(headers)
    assert (failure.value.status, failure.value.error) == (401, "")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")], id="two alike"),
        pytest.param([(b"authorization", b"Bearer a"), (b"Authorization", b"Basic b")], id="two schemes"),
        pytest.param([(b"authorization", b"Bearer a, Bearer b")], id="two in one"),
        pytest.param([(b"authorization", b"Bearer a b")], id="two words"),
        pytest.param([(b"authorization", b"Bearer ")], id="no token"),
        pytest.param([(b"authorization", b"Bearer")], id="only the scheme"),
        pytest.param([(b"authorization", b"Bearer ====")], id="only padding"),
        pytest.param([(b"authorization", b"Bearer a=b")], id="padding inside"),
        pytest.param([(b"authorization", b'Bearer token="a"')], id="parameter"),
        pytest.param([(b"authorization", "Bearer ä".encode())], id="not ASCII"),
        pytest.param([(b"authorization", b"Bearer a\x00")], id="NUL"),
        pytest.param([(b"authorization", b"Bearer a\r\nX: y")], id="line feed"),
        pytest.param([(b"authorization", b"Bearer " + b"a" * (MAX_TOKEN + 1))], id="too long"),
    ],
)
def test_request_whose_token_is_not_plain_is_refused_as_malformed(headers: Headers) -> None:
    with pytest.raises(MalformedCredentials) as failure:
        bearer_token(headers)
    assert (failure.value.status, failure.value.error) == (400, "invalid_request")


def test_longest_token_is_read() -> None:
    assert bearer_token([(b"authorization", b"Bearer " + b"a" * MAX_TOKEN)]) == "a" * MAX_TOKEN


@given(st.lists(st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: b"Bearer " + rest), max_size=2))
def test_whatever_the_header_holds_it_is_a_refusal_or_plain(values: list[bytes]) -> None:
    try:
        token = bearer_token([(b"authorization", value) for value in values])
    except AuthenticationError:
        pass
    else:
        assert re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token)
        assert len(values) == 1


# --- Nobody, and static tokens.


@pytest.mark.parametrize("values", [(), (b"Bearer x",), (b"Basic x", b"Bearer y")], ids=["none", "token", "two"])
def test_everybody_is_anonymous_where_authentication_is_off(values: tuple[bytes, ...]) -> None:
    assert asked(Authenticator(AuthRules(off=True)), *values) is ANONYMOUS


def test_static_token_is_its_name(file: str) -> None:
    token, _ = add_token(file, "ci", None)
    add_token(file, "other", None)
    identity = asked(Authenticator(AuthRules(tokens=file)), b"Bearer " + token.encode())
    assert identity == Identity("token:ci", token="ci")


def test_token_is_random_and_only_its_hash_is_kept(file: str) -> None:
    tokens = [add_token(file, f"t{number}", None)[0] for number in range(20)]
    assert all(re.fullmatch(r"fss_[A-Za-z0-9_-]{43}", token) for token in tokens)
    assert len(set(tokens)) == 20
    text = Path(file).read_text()
    assert not [token for token in tokens if token in text or token[4:] in text]
    assert text.splitlines()[0] == f"t0 {digest_of(tokens[0])}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda token: token[:-1], id="a character less"),
        pytest.param(lambda token: token + "A", id="a character more"),
        pytest.param(lambda token: token.swapcase().replace("FSS_", "fss_"), id="other case"),
        pytest.param(digest_of, id="its hash"),
        pytest.param(lambda token: "fss_" + digest_of(token), id="its hash with the prefix"),
        pytest.param(lambda token: "fss_", id="only the prefix"),
        pytest.param(lambda token: token + "=", id="padding"),
        pytest.param(lambda token: token[4:], id="without the prefix"),
    ],
)
def test_text_that_is_nearly_a_token_is_refused(file: str, change: Any) -> None:
    token, _ = add_token(file, "ci", None)
    with pytest.raises(AuthenticationError) as failure:
        asked(Authenticator(AuthRules(tokens=file)), b"Bearer " + change(token).encode())
    assert (failure.value.status, failure.value.error) == (401, "invalid_token")
    assert token[4:] not in failure.value.description


def test_token_is_refused_from_its_end_on(file: str) -> None:
    token, stored = add_token(file, "ci", 3600.0)
    assert stored.expires is not None
    assert 3598 <= stored.expires - time.time() <= 3600
    now = [stored.expires - 1]
    tokens = StaticTokens(file, clock=lambda: now[0])
    assert tokens.identity(token).expires == stored.expires
    now[0] += 1
    with pytest.raises(Unauthenticated, match="expired"):
        tokens.identity(token)


def test_revoked_token_is_refused_after_a_reload_and_a_new_one_works(file: str) -> None:
    old, _ = add_token(file, "old", None)
    authenticator = Authenticator(AuthRules(tokens=file))
    new, _ = add_token(file, "new", None)
    remove_token(file, "old")
    assert asked(authenticator, b"Bearer " + old.encode()).token == "old"
    assert authenticator.reload()
    assert asked(authenticator, b"Bearer " + new.encode()).token == "new"
    with pytest.raises(Unauthenticated, match="not known"):
        asked(authenticator, b"Bearer " + old.encode())


@pytest.mark.parametrize("how", ["broken", "gone", "writable"])
def test_broken_file_at_a_reload_changes_nothing_and_is_logged(
    file: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = add_token(file, "ci", None)
    authenticator = Authenticator(AuthRules(tokens=file))
    match how:
        case "broken":
            Path(file).write_text("no line of ours\n")
        case "gone":
            os.unlink(file)
        case "writable":
            os.chmod(file, 0o666)
    assert not authenticator.reload()
    assert asked(authenticator, b"Bearer " + token.encode()).token == "ci"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "stay as they were" in record.getMessage()


def test_static_token_is_refused_where_there_are_none() -> None:
    rules = AuthRules(oauth=(OAuthRules("https://id.example.org", "a"),))
    with pytest.raises(Unauthenticated, match="no tokens of its own"):
        asked(Authenticator(rules), b"Bearer fss_abc")


def test_jwt_is_refused_where_only_static_tokens_are_taken(file: str) -> None:
    add_token(file, "ci", None)
    authenticator = Authenticator(AuthRules(tokens=file))
    token = b"eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL3guZXhhbXBsZSJ9."
    with pytest.raises(Unauthenticated, match="does not trust"):
        asked(authenticator, b"Bearer " + token)
    assert authenticator.reload()
    assert authenticator.status() == {}
    assert authenticator.ports == frozenset()
    asyncio.run(asyncio.wait_for(authenticator.keep_fresh(), 5))


def test_missing_file_of_tokens_is_a_mistake_at_the_start(file: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Authenticator(AuthRules(tokens=file))


# --- What a client is told.

ISSUER = OAuthRules("https://id.example.org", "https://mcp.example.org/mcp", scopes=("fsserver",))


def server(public_url: str | None = None, *oauth: OAuthRules) -> ServerRules:
    return ServerRules(public_url=public_url, auth=AuthRules(oauth=oauth))


@pytest.mark.parametrize(
    ("public_url", "path"),
    [
        ("https://mcp.example.org", "/.well-known/oauth-protected-resource"),
        ("https://mcp.example.org/", "/.well-known/oauth-protected-resource"),
        ("https://mcp.example.org/mcp", "/.well-known/oauth-protected-resource/mcp"),
        ("https://mcp.example.org/a/b/", "/.well-known/oauth-protected-resource/a/b/"),
        ("https://mcp.example.org:8443/mcp?x=y", "/.well-known/oauth-protected-resource/mcp?x=y"),
    ],
)
def test_metadata_is_put_between_host_and_path(public_url: str, path: str) -> None:
    rules = server(public_url, ISSUER)
    assert metadata_path(rules) == path
    origin = public_url.split("/")[2]
    assert f'resource_metadata="https://{origin}{path}"' in challenge(rules, Unauthenticated("", "x"))


def test_metadata_says_where_tokens_come_from() -> None:
    other = OAuthRules("https://other.example.org", "x", scopes=("all", "fsserver"))
    assert resource_metadata(server("https://mcp.example.org/mcp", ISSUER, other, ISSUER)) == {
        "resource": "https://mcp.example.org/mcp",
        "resource_name": "fsserver",
        "authorization_servers": ["https://id.example.org", "https://other.example.org"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["fsserver", "all"],
    }


def test_audience_is_the_resource_where_no_public_url_is_given() -> None:
    assert resource_metadata(server(None, ISSUER))["resource"] == "https://mcp.example.org/mcp"


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(server("https://mcp.example.org/mcp"), id="no issuer"),
        pytest.param(server(None, OAuthRules("https://id.example.org", "an-audience")), id="audience that is no URL"),
        pytest.param(server(None, ISSUER, OAuthRules("https://id.example.org", "https://b/")), id="two audiences"),
    ],
)
def test_challenge_leads_nowhere_where_there_is_no_metadata(rules: ServerRules) -> None:
    assert metadata_path(rules) is None
    assert challenge(rules, Unauthenticated("", "x")).startswith('Bearer realm="fsserver"')


@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (Unauthenticated("", "x"), 'Bearer resource_metadata="+", scope="fsserver"'),
        (
            Unauthenticated("invalid_token", "The token has expired."),
            'Bearer resource_metadata="+", scope="fsserver", error="invalid_token", '
            'error_description="The token has expired."',
        ),
        (
            InsufficientScope(("a", "b")),
            'Bearer resource_metadata="+", scope="a b", error="insufficient_scope", '
            'error_description="The token needs the scopes: a b."',
        ),
    ],
    ids=["no token", "bad token", "scope"],
)
def test_challenge_is_what_the_standards_ask_for(failure: AuthenticationError, wanted: str) -> None:
    metadata = "https://mcp.example.org/.well-known/oauth-protected-resource/mcp"
    assert challenge(server("https://mcp.example.org/mcp", ISSUER), failure) == wanted.replace("+", metadata)


def test_scopes_are_not_proposed_where_issuers_differ() -> None:
    other = OAuthRules("https://other.example.org", "x")
    assert "scope=" not in challenge(server("https://mcp.example.org/mcp", ISSUER, other), Unauthenticated("", "x"))


def test_issuer_that_is_down_is_no_reason_to_get_another_token() -> None:
    assert KeysUnavailable(5.0).status == 503
    assert KeysUnavailable(5.0).retry_after_s == 5.0
