"""The policy language's part about serving over HTTP: which keys there are and what may stand behind each."""

from __future__ import annotations

import re
from typing import Final

from fsserver.policy.addresses import (
    ADDRESS_PATTERN,
    HOST_PATTERN,
    NETWORK_PATTERN,
    address,
    host,
    network,
    origin,
    plain_web_url,
    redis_url,
    web_url,
)
from fsserver.policy.problems import Code, LanguageError
from fsserver.policy.schema import (
    NAME_PATTERN,
    Count,
    Flag,
    Key,
    ListOf,
    MapOf,
    Section,
    Text,
    TextOrSection,
    Word,
    parse_name,
)
from fsserver.policy.service import CallClass
from fsserver.policy.terms import BYTE_RATE, CALL_RATE, DURATION, LINE, PERCENTAGE, SIZE, line
from fsserver.policy.text import shortened
from fsserver.policy.units import DURATION_PATTERN, duration_s

ALGORITHM_PATTERN: Final = "^((RS|PS|ES)(256|384|512)|EdDSA)$"
SCOPE_PATTERN: Final = r"^[!#-\[\]-~]{1,256}$"  # RFC 6749, appendix A.4
CLAIM_PATTERN: Final = r"^\S{1,256}$"
MAX_LEEWAY_S: Final = 300.0


def _algorithm(text: str) -> str:
    if not re.fullmatch(ALGORITHM_PATTERN[1:-1], text):
        message = f'"{shortened(text)}" is not a signature that a server can check and not make'
        if text.upper().startswith("HS"):
            message = f'with "{shortened(text)}" whoever can check a token can make one'
        help_text = "there are RS256, PS256 and ES256, each also with 384 and 512, and EdDSA"
        raise LanguageError(Code.CHOICE, message, help_text)
    return text


def _scope(text: str) -> str:
    if not re.fullmatch(SCOPE_PATTERN[1:-1], text):
        message = f'"{shortened(text)}" is not a scope'
        raise LanguageError(Code.NAME, message, "one word without quotes and backslashes; write several as a list")
    return text


def _claim(text: str) -> str:
    if not re.fullmatch(CLAIM_PATTERN[1:-1], line(text)):
        raise LanguageError(Code.NAME, f'"{shortened(text)}" is not the name of a claim', "as the token has it")
    return text


def _leeway(text: str) -> float:
    seconds = duration_s(text)
    if seconds > MAX_LEEWAY_S:
        raise LanguageError(Code.NUMBER, f'"{shortened(text)}" is no difference of clocks', "at most 5m")
    return seconds


ADDRESS = Text(address, "an address such as 127.0.0.1:8080", ADDRESS_PATTERN)
WEB_URL = Text(web_url)
PLAIN_URL = Text(plain_web_url)

TLS = Section(
    {
        "certificate": Key(
            LINE, "A PEM file: the server's certificate and those between it and its CA's.", required=True
        ),
        "key": Key(LINE, "A PEM file: the certificate's private key.", required=True),
        "client_ca": Key(LINE, "A PEM file: who signs certificates that clients must show. Default: none are asked."),
    }
)

ISSUER = Section(
    {
        "issuer": Key(PLAIN_URL, "The URL that the claim iss has to be.", required=True),
        "audience": Key(LINE, "What the claim aud has to hold. Default: public_url."),
        "jwks": Key(WEB_URL, "Its keys. Default: what its metadata names."),
        "algorithms": Key(
            ListOf(Text(_algorithm, pattern=ALGORITHM_PATTERN), least=1), "Of signatures. Default: RS256, ES256."
        ),
        "scopes": Key(ListOf(Text(_scope, pattern=SCOPE_PATTERN)), "Every token has all of them. Default: none."),
        "leeway": Key(
            Text(_leeway, "a duration such as 30s", DURATION_PATTERN), "How much clocks may differ. Default: 30s."
        ),
    }
)

AUTH = TextOrSection(
    Word("way to authenticate", ("none",)),
    Section(
        {
            "oauth": Key(ListOf(ISSUER, least=1), "Issuers of access tokens."),
            "tokens": Key(LINE, "A file of static tokens, as `fsserver token new` makes it."),
        }
    ),
)

HTTP_LIMITS = Section(
    {
        "body": Key(SIZE, "Of a request's body. Default: 4MiB."),
        "headers": Key(SIZE, "Of a request's line and headers. Default: 16KiB."),
        "connections": Key(Count(1, 65536), "Open at the same time. Default: 1024."),
        "streams": Key(Count(1, 65536), "Requests without an answer, of one principal. Default: 128."),
        "session": Key(DURATION, "How long a session lasts. Default: 24h."),
        "header_time": Key(DURATION, "How long a client may take to send its headers. Default: 10s."),
        "body_time": Key(DURATION, "How long it may take to send a body. Default: 30s."),
    }
)

SERVER = Section(
    {
        "transport": Key(Word("transport", ("stdio", "http")), "stdio (default) or http. All else here is for http."),
        "listen": Key(ADDRESS, "An IP address or localhost, and a port. Default: 127.0.0.1:8080."),
        "public_url": Key(PLAIN_URL, "The URL that clients know this server by."),
        "hosts": Key(ListOf(Text(host, pattern=HOST_PATTERN)), "Further values of Host that are accepted."),
        "origins": Key(ListOf(Text(origin)), "Values of Origin that are accepted. Default: none."),
        "tls": Key(TLS, "Files for TLS."),
        "proxies": Key(
            ListOf(Text(network, pattern=NETWORK_PATTERN)), "Proxies in front that do TLS: IP addresses or networks."
        ),
        "auth": Key(AUTH, "How clients prove who they are; none is for loopback only."),
        "limits": Key(HTTP_LIMITS, "Bounds on what clients can make the server hold."),
        "ops": Key(ADDRESS, "Where health and metrics are served. Default: nowhere."),
        "drain": Key(DURATION, "How long calls may go on after SIGTERM. Default: 30s."),
    }
)

WHEN = Section(
    {
        "issuer": Key(LINE, "Of an access token: iss."),
        "subject": Key(LINE, "Of an access token: sub."),
        "client": Key(LINE, "Of an access token: client_id."),
        "claim": Key(MapOf(LINE, parse=_claim, pattern=CLAIM_PATTERN), "Of an access token: claims and their values."),
        "token": Key(Text(parse_name, pattern=NAME_PATTERN), "The name of a static token."),
        "anonymous": Key(Flag(), "With auth: none."),
    }
)

PRINCIPALS = ListOf(
    Section(
        {
            "when": Key(WHEN, "Who is meant: all of it has to hold.", required=True),
            "profile": Key(Text(parse_name, pattern=NAME_PATTERN), "What they get. Default: the whole policy."),
        }
    )
)

_BUDGET_KEYS = {
    "rate": Key(CALL_RATE, "Calls of each principal."),
    "each": Key(Count(1, 256), "Calls of each principal that are at work at the same time."),
    "output": Key(BYTE_RATE, "Bytes of results of each principal."),
}

CALLS = Section(
    {
        "concurrency": Key(Count(1, 256), "Calls at work at the same time, of everybody. Default: 16."),
        **_BUDGET_KEYS,
        "classes": Key(
            Section(
                {
                    each.value: Key(Section(_BUDGET_KEYS), f"Calls that {about}.")
                    for each, about in (
                        (CallClass.READ, "read"),
                        (CallClass.SEARCH, "search"),
                        (CallClass.CHANGE, "change files"),
                        (CallClass.COMMAND, "run commands"),
                    )
                }
            ),
            "Bounds of one class of calls, besides those of all.",
        ),
    }
)

STATE = Section(
    {
        "redis": Key(Text(redis_url), "Where replicas keep what they share."),
        "password": Key(LINE, "A file with Redis's password."),
        "ca": Key(LINE, "A PEM file: who signed Redis's certificate. Default: the system's."),
        "key": Key(LINE, "A file with the key that seals sessions and questions. Default: one of each process alone."),
        "on_failure": Key(
            Word("reaction", ("refuse", "local")), "Without Redis: refuse calls (default), or count in this process."
        ),
    }
)

TELEMETRY = Section(
    {
        "calls": Key(Flag(), "One line on standard error for each call. Default: false."),
        "traces": Key(WEB_URL, "An OTLP/HTTP collector for traces."),
        "sample": Key(PERCENTAGE, "Which part of the traces that no client began is kept. Default: 100%."),
    }
)
