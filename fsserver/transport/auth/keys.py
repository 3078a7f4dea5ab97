"""The public keys of an issuer, from its JSON Web Key Set (RFC 7517). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Signatures that can be checked, and the type and curve of their keys. All have a public and a private half: with a
symmetric one, whoever can check could also sign, and an RSA key that everybody knows would be the secret."""

MAX_KEYS: Final = 100
MIN_RSA_BITS: Final = 2048  # RFC 7518, section 3.3
MAX_RSA_BITS: Final = 8192  # what is longer is slow to check


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key and the algorithms that it may be used with."""

    id: str | None
    algorithms: frozenset[str]
    key: Any


def read_keys(document: Mapping[str, Any], algorithms: Iterable[str]) -> tuple[VerificationKey, ...]:
    """The usable keys. What is not understood, not for signatures or too weak is left out, as RFC 7517 section 5 says.

    Raises:
        ValueError: there is none, or there are more than `MAX_KEYS`.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError("no set of keys")
    wanted = frozenset(algorithms)
    found = tuple(key for each in listed if isinstance(each, dict) and (key := _read_key(each, wanted)) is not None)
    if not found:
        raise ValueError("no usable key")
    return found


def _read_key(each: Mapping[str, Any], wanted: frozenset[str]) -> VerificationKey | None:
    usable = _algorithms(each, wanted)
    identifier = each.get("kid")
    operations = each.get("key_ops", ["verify"])
    if (
        not usable
        or not isinstance(identifier, str | None)
        or each.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in each  # a private key is everybody's by now
    ):
        return None
    try:
        key = jwt.PyJWK(dict(each), algorithm=min(usable)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(key, RSAPublicKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return None
    return VerificationKey(identifier, usable, key)


def _algorithms(each: Mapping[str, Any], wanted: frozenset[str]) -> frozenset[str]:
    """Those that fit the key's type and curve, and only its own where it names one."""
    kind, curve, only = each.get("kty"), each.get("crv"), each.get("alg")
    fitting = {name for name in wanted if ALGORITHMS.get(name) in ((kind, None), (kind, curve))}
    return frozenset(name for name in fitting if only in (None, name))
