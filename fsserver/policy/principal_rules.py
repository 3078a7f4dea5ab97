"""``principals`` of a policy, compiled: whom each profile is for. A rule that can hold for nobody is an error."""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import MappingProxyType

from fsserver.policy.problems import Code, Place, Problem, did_you_mean
from fsserver.policy.rules import Origin
from fsserver.policy.service import AuthRules, PrincipalRule, ServerRules, Transport
from fsserver.policy.tree import Entry, Node

_OF_TOKENS = ("issuer", "subject", "client", "claim")


def compile_principals(
    tree: Node,
    server: ServerRules,
    profiles: Collection[str],
    *,
    origin_of: Callable[[Place], Origin],
    problems: list[Problem],
) -> tuple[PrincipalRule, ...]:
    """Every rule, appending whatever is wrong to ``problems``. ``profiles``: that there are."""
    items = tree.items_at("principals")
    known = not (tree.get("profiles") or tree).incomplete
    for item in items:
        profile = item.get("profile")
        if profile is not None and profile.text not in profiles and known:
            message = f'there is no profile "{profile.text}"'
            help_text = did_you_mean(profile.text, profiles)
            problems.append(Problem(Code.UNKNOWN_PROFILE, profile.place, message, help_text))
    whole = not any((tree.get(*path) or tree).incomplete for path in (("server",), ("server", "auth")))
    ways = server.auth.off or server.auth.oauth or server.auth.tokens is not None
    if server.transport is Transport.HTTP and whole and ways:
        _require_somebody(tree, server.auth, problems)
        for item in items:
            when = item.get("when")
            if when is not None and not when.incomplete:
                _check_conditions(when, server.auth, problems)
        _refuse_twice(items, problems)
    return tuple(_rule(item, origin_of) for item in items)


def _rule(item: Node, origin_of: Callable[[Place], Origin]) -> PrincipalRule:
    when, profile = item.get("when"), item.get("profile")
    assert when is not None, "the schema requires it"
    texts = {key: node.text for key in ("issuer", "subject", "client", "token") if (node := when.get(key))}
    anonymous = when.get("anonymous")
    claims = {name: entry.node.text for name, entry in when.entries_at("claim").items()}
    return PrincipalRule(
        origin=origin_of(item.place),
        profile=profile.text if profile else None,
        anonymous=anonymous is not None and anonymous.value is True,
        claims=MappingProxyType(claims),
        **texts,
    )


def _require_somebody(tree: Node, auth: AuthRules, problems: list[Problem]) -> None:
    """Report a policy that lets in nobody at all; with ``auth: none`` and no ``principals`` it is everybody."""
    written, way = tree.get("principals"), tree.get("server", "auth")
    assert way is not None
    if (written is None and auth.off) or (written or tree).incomplete:
        return
    if written is None or not written.items:
        message = "nobody would be served: a policy over HTTP names those who are"
        place = written.place if written else way.place
        help_text = (
            "principals: [{when: {token: NAME}}] grants the whole policy, with profile: NAME one of its profiles"
        )
        problems.append(Problem(Code.MISSING, place, message, help_text))


def _check_conditions(when: Node, auth: AuthRules, problems: list[Problem]) -> None:
    def tell(entry: Entry, message: str, help_text: str | None = None, code: Code = Code.CONFLICT) -> None:
        problems.append(Problem(code, entry.key, message, help_text))

    claims = when.get("claim")
    if not when.entries or (claims is not None and not claims.entries and not claims.incomplete):
        message = "without a condition this would be everybody"
        problems.append(Problem(Code.MISSING, when.place, message, "say who is meant, such as {token: NAME}"))
    anonymous = when.entries.get("anonymous")
    if anonymous is not None:
        if anonymous.node.value is not True:
            tell(anonymous, "nobody has to be other than anonymous", "write true, or take it out")
        elif not auth.off:
            tell(anonymous, "nobody is anonymous here: clients prove who they are", "take it out")
        elif len(when.entries) > 1:
            tell(anonymous, "of somebody anonymous nothing else is known", "take the other conditions out")
        return
    for key in ("token", *_OF_TOKENS):
        entry = when.entries.get(key)
        proven = bool(auth.tokens if key == "token" else auth.oauth)
        if entry is not None and not proven:
            where = "tokens" if key == "token" else "oauth"
            help_text = "write {anonymous: true}" if auth.off else f"write {where}: in server.auth, or take it out"
            tell(entry, f"nobody can have this: server.auth has no `{where}`", help_text)
    if "token" in when.entries and any(key in when.entries for key in _OF_TOKENS):
        tell(when.entries["token"], "a static token has nothing of an access token", "write two entries")
    _check_issuer(when, [each.issuer for each in auth.oauth], problems)


def _check_issuer(when: Node, issuers: list[str], problems: list[Problem]) -> None:
    issuer = when.get("issuer")
    if issuer is not None and issuers and issuer.text not in issuers:
        message = "server.auth.oauth does not have this issuer"
        help_text = did_you_mean(issuer.text, issuers) or f"it has {', '.join(issuers)}"
        problems.append(Problem(Code.CONFLICT, issuer.place, message, help_text))
    if issuer is None and len(issuers) > 1 and any(key in when.entries for key in _OF_TOKENS):
        message = "several issuers can say this of different people"
        problems.append(Problem(Code.MISSING, when.place, message, "write issuer: too"))


def _refuse_twice(items: list[Node], problems: list[Problem]) -> None:
    """Report conditions that are there twice: whoever meets both is refused."""
    seen: list[object] = []
    for item in items:
        when = item.get("when")
        plain = when.plain() if when is not None and not when.incomplete else None
        if when is not None and plain and plain in seen:
            message = "these conditions are there twice, and whoever two entries mean is refused"
            problems.append(Problem(Code.CONFLICT, when.place, message, "take one out"))
        seen.append(plain)
