"""What ``fsserver doctor`` says about serving a policy over HTTP. It listens for an instant, and connects to what the
policy names; it sends nothing that is anybody's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

from fsserver.cli.checks import EXIT_CONFIG, Check, Verdict
from fsserver.errors import ConfigError
from fsserver.policy.compiled import Policy
from fsserver.policy.service import Address, AuthRules, OAuthRules, SharedRules, TlsFiles, Transport, WithoutState

SOON_S = 14 * 24 * 3600.0
"""A certificate that ends sooner is told."""

ISSUER_S = 10.0
"""How long an issuer may take to say its keys."""


def service_checks(policy: Policy) -> Iterator[Check]:
    """Whether it can listen, who can prove who they are, and what replicas share. Nothing where it serves stdio."""
    rules = policy.server
    if rules.transport is not Transport.HTTP:
        return
    yield _address_check("listen", rules.listen)
    if rules.ops is not None:
        yield _address_check("ops", rules.ops)
    if rules.tls is not None:
        yield _certificate_check(rules.tls)
    yield from _auth_checks(rules.auth)
    yield from _state_checks(policy.shared)


def _address_check(name: str, address: Address) -> Check:
    from fsserver.transport.http.listening import bind  # noqa: PLC0415 - only where a policy serves over HTTP

    try:
        bind(address).close()
    except ConfigError as error:
        return Check("service", name, "warning", f"{error.message}\nIf this policy is being served there, that is why.")
    return Check("service", name, "ok", str(address))


def _certificate_check(files: TlsFiles) -> Check:
    from cryptography import x509  # noqa: PLC0415 - a large library

    from fsserver.transport.http.listening import server_context  # noqa: PLC0415

    try:
        server_context(files)
        with open(files.certificate, "rb") as stream:
            certificate = x509.load_pem_x509_certificates(stream.read())[0]
    except ConfigError as error:
        return Check("service", "tls", "error", error.message, EXIT_CONFIG)
    ends = certificate.not_valid_after_utc
    left_s = (ends - datetime.now(UTC)).total_seconds()
    until = f"until {ends:%Y-%m-%d}"
    if left_s <= 0:
        return Check("service", "tls", "error", f"the certificate was valid {until}", EXIT_CONFIG)
    clients = ", clients show certificates" if files.client_ca else ""
    return Check("service", "tls", "warning" if left_s < SOON_S else "ok", f"certificate valid {until}{clients}")


def _auth_checks(rules: AuthRules) -> Iterator[Check]:
    if rules.off:
        yield Check("service", "auth", "warning", "none: whoever reaches the address is served")
    if rules.tokens is not None:
        yield _tokens_check(rules.tokens)
    for issuer in rules.oauth:
        yield _issuer_check(issuer)


def _tokens_check(path: str) -> Check:
    from fsserver.transport.auth.token_file import read_tokens  # noqa: PLC0415

    try:
        tokens = read_tokens(path)
    except ConfigError as error:
        return Check("service", "tokens", "error", error.message, EXIT_CONFIG)
    ended = sum(token.expires is not None and token.expires <= time.time() for token in tokens)
    text = f"{len(tokens)} in {path}" + (f", {ended} of them expired" if ended else "")
    return Check("service", "tokens", "ok" if len(tokens) > ended else "warning", text)


def _issuer_check(rules: OAuthRules) -> Check:
    from fsserver.transport.auth.failures import KeysUnavailable  # noqa: PLC0415
    from fsserver.transport.auth.issuer_keys import IssuerKeys  # noqa: PLC0415
    from fsserver.trust import client_context  # noqa: PLC0415

    keys = IssuerKeys(rules, client_context())

    async def ask() -> tuple[bool, str]:
        with suppress(KeysUnavailable, TimeoutError):
            await asyncio.wait_for(keys.find(None, rules.algorithms[0]), ISSUER_S)
        return keys.status()

    well, text = asyncio.run(ask())
    return Check("service", "issuer", "ok" if well else "warning", text)


def _state_checks(rules: SharedRules) -> Iterator[Check]:
    from fsserver.state.opening import open_state  # noqa: PLC0415
    from fsserver.state.secret import read_key  # noqa: PLC0415

    try:
        if rules.key is not None:
            read_key(rules.key)
            yield Check("service", "key", "ok", rules.key)
        if rules.redis is None:
            return
        state = open_state(rules, "doctor")
    except ConfigError as error:
        yield Check("service", "state", "error", error.message, EXIT_CONFIG)
        return
    try:
        health = state.status()
    finally:
        state.close()
    refused = not health.ok or "cannot be reached" in health.text
    verdict: Verdict = "ok" if not refused else "error" if rules.on_failure is WithoutState.REFUSE else "warning"
    yield Check("service", "redis", verdict, health.text, EXIT_CONFIG if verdict == "error" else 0)
