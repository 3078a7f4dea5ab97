"""How a client finds out where to get a token: the metadata of RFC 9728, and the challenge that leads to it. Pure."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from fsserver.policy.service import ServerRules
from fsserver.transport.auth.failures import AuthenticationError, InsufficientScope

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def resource(rules: ServerRules) -> str | None:
    """The identifier of this server as a resource: its public URL, or the audience, if that is one and is a URL."""
    if not rules.auth.oauth:
        return None
    audiences = {each.audience for each in rules.auth.oauth}
    named = rules.public_url or (next(iter(audiences)) if len(audiences) == 1 else "")
    return named if urlsplit(named).scheme in ("https", "http") and urlsplit(named).netloc else None


def metadata_path(rules: ServerRules) -> str | None:
    """The path, with its query, at which `resource_metadata` is served: the resource's own is put behind the well-known
    one (RFC 9728, section 3.1). None: there is no such document.
    """
    named = resource(rules)
    if named is None:
        return None
    parts = urlsplit(named)
    path = "" if parts.path == "/" else parts.path
    return f"{WELL_KNOWN}{path}" + (f"?{parts.query}" if parts.query else "")


def resource_metadata(rules: ServerRules) -> dict[str, Any]:
    """The document. Only where `metadata_path` is not None."""
    document: dict[str, Any] = {
        "resource": resource(rules),
        "resource_name": "fsserver",
        "authorization_servers": list(dict.fromkeys(each.issuer for each in rules.auth.oauth)),
        "bearer_methods_supported": ["header"],
    }
    scopes = list(dict.fromkeys(scope for each in rules.auth.oauth for scope in each.scopes))
    return document | ({"scopes_supported": scopes} if scopes else {})


def challenge(rules: ServerRules, failure: AuthenticationError) -> str:
    """The value of ``WWW-Authenticate`` (RFC 6750, section 3; RFC 9728, section 5.1)."""
    named, path = resource(rules), metadata_path(rules)
    parameters = {"realm": "fsserver"}
    if named is not None and path is not None:
        parts = urlsplit(named)
        parameters = {"resource_metadata": f"{parts.scheme}://{parts.netloc}{path}"}
    scopes = failure.scopes if isinstance(failure, InsufficientScope) else _scopes_of_all(rules)
    if scopes:
        parameters["scope"] = " ".join(scopes)
    if failure.error:
        parameters |= {"error": failure.error, "error_description": failure.description}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())


def _scopes_of_all(rules: ServerRules) -> tuple[str, ...]:
    """What to ask for, where that is the same at each issuer."""
    asked = {each.scopes for each in rules.auth.oauth}
    return next(iter(asked)) if len(asked) == 1 else ()
