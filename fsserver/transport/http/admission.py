"""What a request has to look like before anything of its body is read. Pure.

*Trust.* Hostile: every byte of the request. A browser may have been made to send it by any web page (DNS rebinding, and
forms across sites), so the ``Host`` that it believes to talk to, and the ``Origin`` of the page, are looked at first.

*Invariant.* What `Admission.look` lets pass is a POST or DELETE of the one path there is, without a query, to a name
that this server has, from no web page but those that the policy lists, in JSON, and from a client that takes both
kinds of answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from fsserver.policy.service import ServerRules
from fsserver.transport.hosts import Hosts
from fsserver.transport.http.refusal import Refusal

PATH: Final = "/mcp"
"""Where the protocol is served, unless the policy's ``public_url`` has another path."""

METHODS: Final = "POST, DELETE"

Fields = list[tuple[bytes, bytes]]


class Admission:
    """Made once from what the policy says."""

    def __init__(self, rules: ServerRules) -> None:
        public = urlsplit(rules.public_url or "")
        self.path: Final = public.path.rstrip("/") or PATH
        self._hosts = Hosts(rules.listen, (*filter(None, (public.netloc,)), *rules.hosts))
        self._origins = frozenset(
            (*rules.origins, f"{public.scheme}://{public.netloc}") if public.netloc else rules.origins
        )

    def host(self, headers: Fields) -> None:
        """Raises Refusal: the client believes to talk to somebody else."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1:
            raise Refusal(400, "host", "A request has exactly one Host header.", close=True)
        if not self._hosts.accept(hosts):
            message = (
                "This server is not known by the name in the Host header; server.hosts in the policy lists its names."
            )
            raise Refusal(421, "host", message, close=True)

    def look(self, method: str, path: str, query: bytes, headers: Fields) -> None:
        """Raises Refusal: this is no request for the protocol, or not from whom it may come. `host` is for all paths,
        and comes first.
        """
        if path != self.path:
            raise Refusal(404, "path", f"There is nothing here; MCP is served at {self.path}.")
        if query:
            message = "No query is taken. A token belongs in the Authorization header: it would be logged here."
            raise Refusal(400, "query", message)
        for origin in _values(headers, b"origin"):
            if origin not in self._origins:
                message = "Web pages of this origin may not call this server; server.origins lists those that may."
                raise Refusal(403, "origin", message)
        if method not in ("POST", "DELETE"):
            message = f"Only {METHODS}: this server opens no stream of its own, answers come with the request."
            raise Refusal(405, "method", message, headers={"Allow": METHODS})
        if method == "POST":
            _check_form(headers)


def _check_form(headers: Fields) -> None:
    kinds = [value.split(";")[0].strip().lower() for value in _values(headers, b"content-type")]
    if kinds != ["application/json"]:
        raise Refusal(415, "content type", "A request's Content-Type is application/json.")
    if any(value.strip().lower() != "identity" for value in _values(headers, b"content-encoding")):
        raise Refusal(415, "content encoding", "A request's body is not compressed.")
    if any(value.lower() != "chunked" for value in _values(headers, b"transfer-encoding")):
        raise Refusal(501, "transfer encoding", "A request's body comes as it is, or in chunks.", close=True)
    accepted = {
        kind.split(";")[0].strip().lower() for value in _values(headers, b"accept") for kind in value.split(",")
    }
    if "*/*" in accepted:
        return
    if not (accepted & {"application/json", "application/*"} and accepted & {"text/event-stream", "text/*"}):
        raise Refusal(406, "accept", "A client accepts both application/json and text/event-stream.")


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]
