"""Who a caller is, as proven, and which profile of the policy that principal gets. Pure. Standard library only.

*Trust.* The rules and the templates are the operator's. What is in an identity is proven to come from its issuer or
from the file of tokens, but a subject, a client and a claim may be a text that somebody chose for himself.

*Invariant.* `choose` returns a rule only if all of its conditions hold and those of no other do. Two identities with
different values for the variables of one template never get the same name from `fill`, and no name leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from fsserver.errors import PrincipalDenied
from fsserver.policy.service import PrincipalRule
from fsserver.policy.variables import VALUE, VARIABLE


@dataclass(frozen=True, slots=True)
class Identity:
    """What authentication found out.

    Attributes:
        name: the principal, as audit records, limits and sessions know it. Two callers have the same only if they are
            the same.
        issuer, subject, client: ``iss``, ``sub`` and ``client_id`` of an access token.
        token: the name of a static token.
        claims: of an access token, whole.
        expires: when it stops being valid, seconds since the epoch; None is never.
        only_issuer: the policy trusts no other issuer, so that no other can have given somebody the same subject.
    """

    name: str
    issuer: str | None = None
    subject: str | None = None
    client: str | None = None
    token: str | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    expires: float | None = None
    only_issuer: bool = False


ANONYMOUS = Identity("anonymous")
"""Everybody, where the policy says ``auth: none``."""


# --- Which rule is for a caller.


def choose(rules: Sequence[PrincipalRule], identity: Identity) -> PrincipalRule:
    """The one rule that is for ``identity``.

    Raises:
        PrincipalDenied: none is, or more than one: which of two profiles somebody gets must not hang on their order.
    """
    found = [rule for rule in rules if _is_for(rule, identity)]
    if not found:
        raise PrincipalDenied(
            f"The policy's `principals` have no entry for this caller, {_kind(identity)}. {_kinds(rules)}",
            allowed_instead="a caller whom an entry of `principals` is for",
        )
    if len(found) > 1:
        places = ", ".join(str(rule.origin) for rule in found)
        raise PrincipalDenied(
            f"More than one entry of the policy's `principals` is for this caller, {_kind(identity)}: {places}.",
            rule=str(found[0].origin),
            allowed_instead="a caller whom exactly one entry of `principals` is for",
        )
    return found[0]


def _is_for(rule: PrincipalRule, identity: Identity) -> bool:
    """A rule without a condition is for nobody."""
    if rule.anonymous:
        return identity == ANONYMOUS
    asked = [
        (rule.issuer, identity.issuer),
        (rule.subject, identity.subject),
        (rule.client, identity.client),
        (rule.token, identity.token),
    ]
    conditions = [(wanted, given) for wanted, given in asked if wanted is not None]
    if not conditions and not rule.claims:
        return False
    return all(wanted == given for wanted, given in conditions) and all(
        _claims(identity.claims.get(name), wanted) for name, wanted in rule.claims.items()
    )


def _claims(given: Any, wanted: str) -> bool:
    """Whether a claim, or one item of a list, is ``wanted``: as text, or ``true``, ``false`` or a whole number."""
    return any(_text(item) == wanted for item in (given if isinstance(given, list) else [given]))


def _text(value: Any) -> str | None:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    return None


def _kind(identity: Identity) -> str:
    if identity.token is not None:
        return f'the static token "{identity.token}"'
    return f"with an access token of {identity.issuer}" if identity.issuer is not None else "who is anonymous"


def _kinds(rules: Iterable[PrincipalRule]) -> str:
    """What entries ask for, without the values: they say who else may come."""
    kinds = dict.fromkeys(" and ".join(_conditions(rule)) for rule in rules)
    return f"There are entries that ask for: {'; '.join(kinds)}." if kinds else "There is no entry at all."


def _conditions(rule: PrincipalRule) -> list[str]:
    asked = {
        "the name of a static token": rule.token,
        "an issuer": rule.issuer,
        "a subject": rule.subject,
        "a client": rule.client,
    }
    named = [kind for kind, wanted in asked.items() if wanted is not None]
    return named + [f"the claim {name}" for name in rule.claims] + ["`auth: none`"] * rule.anonymous


# --- The directory of a caller.

_APART: Final = re.compile(r"[^A-Za-z0-9_-]")
MAX_NAME: Final = 255
"""Bytes of one name in a directory (NAME_MAX)."""


def fill(template: str, identity: Identity) -> str:
    """The name of ``identity``'s own directory: ``template`` with its ``${principal.…}`` replaced.

    ``name`` is that of a static token, or "anonymous". ``subject``, ``client`` and ``claim.NAME``, a text or a whole
    number, are of an access token, where the policy trusts one issuer only: two may give different people the same
    subject. So neither a token that is called like somebody's subject nor another issuer's user gets that directory.

    Raises:
        PrincipalDenied: the caller has no such value, or one with other characters than letters, digits, ``_`` and
            ``-``: a value is never changed, since two could become one. Or two variables stand together, or with
            nothing but such characters in between: "a-b", "c" and "a", "b-c" would become one.
    """
    parts = VARIABLE.split(template)  # between two literals the variable, and the name of its claim
    literals, variables = parts[::3], parts[1::3]
    if not variables or "${" in "".join(literals) or not all(_APART.search(each) for each in literals[1:-1]):
        raise PrincipalDenied("The policy's name for this caller's directory does not tell callers apart.")
    values = [_value(variable, identity) for variable in variables]
    name = "".join(text for pair in zip(literals, [*values, ""], strict=True) for text in pair)
    if "/" in name or "\0" in name or name in (".", "..") or len(name.encode("utf-8", "replace")) > MAX_NAME:
        raise PrincipalDenied("The policy's name for this caller's directory is not the name of one directory.")
    return name


def _value(variable: str, identity: Identity) -> str:
    value = _known(variable, identity)
    if value is None:
        raise PrincipalDenied(
            f"A root has a directory for each `principal.{variable}`, and this caller, {_kind(identity)}, has none "
            "that is certain to be nobody else's.",
            allowed_instead="a caller who has one",
        )
    if not VALUE.fullmatch(value):
        raise PrincipalDenied(
            f"This caller's `principal.{variable}` cannot name a directory: it may have letters, digits, _ and -, and "
            "no more than 64 of them.",
            allowed_instead="another variable in the root's path, or a value that can",
        )
    return value


def _known(variable: str, identity: Identity) -> str | None:
    match variable.partition("."):
        case ("name", "", ""):
            return ANONYMOUS.name if identity == ANONYMOUS else identity.token
        case ("subject", "", "") if identity.only_issuer:
            return identity.subject
        case ("client", "", "") if identity.only_issuer:
            return identity.client
        case ("claim", _, claim) if identity.only_issuer:
            value = identity.claims.get(claim)
            return None if isinstance(value, bool) else _text(value)
    return None
