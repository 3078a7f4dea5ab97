"""Paths as ``file://`` URIs and as text for a template, and back."""

from __future__ import annotations

import os

import pytest

from fsserver.errors import BadPath
from fsserver.paths.uri import MAX_CHARACTERS, file_uri, path_of, template_value, unescaped

READABLE = {
    "plain": ("file:///a/b.txt", "/a/b.txt"),
    "localhost": ("file://localhost/a", "/a"),
    "no authority": ("file:/a", "/a"),
    "capitals": ("FILE://LOCALHOST/a", "/a"),
    "the whole file system": ("file:///", "/"),
    "directory": ("file:///a/", "/a/"),
    "escaped space": ("file:///a%20b", "/a b"),
    "space as it is": ("file:///a b", "/a b"),
    "UTF-8": ("file:///%C3%A4", "/ä"),
    "UTF-8 as it is": ("file:///ä", "/ä"),
    "not UTF-8": ("file:///caf%E9", "/caf\udce9"),
    "escaped delimiters": ("file:///a%23b%3Fc%25d", "/a#b?c%d"),
    "escaped newline": ("file:///a%0Ab", "/a\nb"),
    "a percent alone": ("file:///100%", "/100%"),
    "escaped twice": ("file:///%252e%252e/x", "/%2e%2e/x"),
    "dots in a name": ("file:///a..b/...", "/a..b/..."),
    "backslash": ("file:///a\\x41", "/a\\x41"),
    "a drive's letter": ("file:///C:/x", "/C:/x"),
}
REFUSED = {
    "empty": "",
    "only a scheme": "file:",
    "no path": "file://",
    "no path on localhost": "file://localhost",
    "another scheme": "http://localhost/a",
    "another scheme with a path": "fsserver:///a",
    "no scheme": "/a",
    "relative": "file:a",
    "relative after dots": "file:../a",
    "another host": "file://example.com/a",
    "a host like ours": "file://localhost.example.com/a",
    "a user": "file://me@localhost/a",
    "a port": "file://localhost:80/a",
    "a drive as host": "file://C:/x",
    "a query": "file:///a?b",
    "a fragment": "file:///a#b",
    "NUL": "file:///a%00",
    "NUL as it is": "file:///a\0",
    "a newline as it is": "file:///a\nb",
    "a space before": " file:///a",
    "parent": "file:///a/../b",
    "parent at the end": "file:///a/..",
    "parent, escaped": "file:///a/%2e%2e/b",
    "parent, half escaped": "file:///a/.%2E/b",
    "escaped slash": "file:///a%2fb",
    "escaped slash and parent": "file:///a%2F..%2Fb",
    "half a pair": "file:///\ud800",
    "very long": "file:///" + "a" * 20_000,
}


@pytest.mark.parametrize(("uri", "path"), READABLE.values(), ids=READABLE.keys())
def test_uri_names_a_path(uri: str, path: str) -> None:
    assert path_of(uri) == path


@pytest.mark.parametrize("uri", REFUSED.values(), ids=REFUSED.keys())
def test_uri_that_names_no_local_path_is_refused(uri: str) -> None:
    with pytest.raises(BadPath) as raised:
        path_of(uri)
    assert len(raised.value.message) < 200


@pytest.mark.parametrize("unit", ["a", "%", "/", "%41"])
def test_path_is_not_taken_apart_where_it_is_longer_than_any_can_be(unit: str) -> None:
    longest = "/" + unit * ((MAX_CHARACTERS - 1) // len(unit))
    assert unescaped(longest).startswith("/")
    with pytest.raises(BadPath, match="characters"):
        unescaped(longest + unit)


def test_every_byte_that_a_name_can_have_round_trips() -> None:
    name = os.fsdecode(bytes(byte for byte in range(1, 256) if byte != ord("/")))
    assert path_of(file_uri(f"/{name}")) == f"/{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plain.txt", "plain.txt"),
        ("two words ä", "two words ä"),
        ("50%", "50%25"),
        ("a#b?c", "a%23b%3Fc"),
        ("caf\udce9", "caf%E9"),
        ("a\nb", "a%0Ab"),
        ("\u202etxt.exe", "%E2%80%AEtxt.exe"),
    ],
)
def test_value_for_a_template_escapes_what_the_expansion_leaves_and_reads_back(name: str, value: str) -> None:
    assert template_value(name) == value
    assert unescaped(value) == name
