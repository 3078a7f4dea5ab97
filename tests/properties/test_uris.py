"""Any name has a URI, and the URI means that name and no other."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from fsserver.errors import BadPath
from fsserver.paths.uri import file_uri, path_of, template_value, unescaped

names = st.binary(min_size=1, max_size=40).map(lambda raw: raw.replace(b"/", b"").replace(b"\0", b""))
paths = st.lists(names.filter(lambda raw: raw not in (b"", b"..")), min_size=1, max_size=4).map(
    lambda parts: os.fsdecode(b"/" + b"/".join(parts))
)


@given(paths)
def test_a_path_comes_back_from_its_uri(path: str) -> None:
    assert path_of(file_uri(path)) == path
    assert file_uri(path).isascii()


@given(paths)
def test_a_path_comes_back_from_its_value_in_a_template(path: str) -> None:
    value = template_value(path)
    assert unescaped(value) == path
    assert path_of(f"file://{value}") == path  # as clients expand it that escape nothing


@given(st.text(alphabet=st.sampled_from("file:/localhost.%2e%2F00#?\\\0\n aé\ud800"), max_size=40))
def test_any_text_is_an_absolute_path_without_parents_or_refused(text: str) -> None:
    try:
        path = path_of(f"file://{text}")
    except BadPath:
        return
    assert path.startswith("/")
    assert "\0" not in path
    assert ".." not in path.split("/")
    assert path.count("/") == text.count("/")
