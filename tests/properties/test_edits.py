"""An edit changes what it names and no other byte, whatever the line endings, the encoding and the text."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fsserver.errors import FsserverError
from fsserver.tools.editing.diff import unified
from fsserver.tools.editing.edit import Edit, apply_edits
from fsserver.tools.editing.endings import Normal, with_lf
from fsserver.tools.editing.spans import Region, Splice, apply, compose
from fsserver.tools.globbing.globs import compile_glob
from tests.gates import served, texts
from tests.trees import rules
from tests.unit.test_diff import patched

ENDINGS = st.sampled_from(["\n", "\r\n", "\n", "\r\n", "\r"])
LINES = st.text(st.sampled_from("ab é\t\u20ac\U0001f600`"), max_size=6)
TEXTS = st.lists(st.tuples(LINES, ENDINGS), max_size=12).map(lambda rows: "".join(a + b for a, b in rows))
NEW = st.text(st.sampled_from("xy\n\r\té"), max_size=8)


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, str, str]:
    """What is before, a mark that is nowhere else, and what is after."""
    return draw(TEXTS) + draw(LINES), draw(LINES) + "Q" + draw(NEW) + "Q" + draw(LINES), draw(LINES) + draw(TEXTS)


@given(marked_texts(), NEW)
def test_bytes_outside_the_edit_stay(text: tuple[str, str, str], new: str) -> None:
    before, old, after = text
    # A line ending must not be cut in two by where the edit begins or ends.
    assume(not (before.endswith("\r") and old.startswith("\n")))
    assume(not (old.endswith("\r") and after.startswith("\n")))
    assume("\r\r\n" not in new)  # a lone CR before a line ending: which of both is the ending is a matter of taste
    whole = before + old + after
    result = apply_edits(whole, [Edit(old, new)], max_characters=10**6).text
    assert result.startswith(before)
    assert result.endswith(after)
    inside = result[len(before) : len(result) - len(after)] if after else result[len(before) :]
    assert with_lf(inside) == with_lf(new) or inside == new


@given(marked_texts(), NEW)
def test_old_text_with_other_line_endings_matches_the_same_place(text: tuple[str, str, str], new: str) -> None:
    before, old, after = text
    assume(not (before.endswith("\r") and old.startswith("\n")))
    assume(not (old.endswith("\r") and after.startswith("\n")))
    whole = before + old + after
    for spelt in (with_lf(old), with_lf(old).replace("\n", "\r\n")):
        assume(with_lf(spelt) == with_lf(old))
        assert (
            apply_edits(whole, [Edit(spelt, new)], max_characters=10**6).text
            == apply_edits(whole, [Edit(old, new)], max_characters=10**6).text
        )


PIECES = st.text(st.sampled_from("ab\n"), max_size=6)


@given(st.lists(PIECES, min_size=2, max_size=5), st.text(st.sampled_from("ab\n"), min_size=1, max_size=2), PIECES)
def test_replace_all_replaces_every_match_and_nothing_else(pieces: list[str], old: str, new: str) -> None:
    text = old.join(pieces)
    assert apply_edits(text, [Edit(old, new, replace_all=True)], max_characters=10**6).text == text.replace(old, new)


@given(TEXTS, st.lists(st.tuples(NEW.filter(bool), NEW), max_size=4))
def test_diff_of_any_edits_leads_from_the_old_text_to_the_new(text: str, wanted: list[tuple[str, str]]) -> None:
    try:
        edited = apply_edits(text, [Edit(*each, replace_all=True) for each in wanted], max_characters=10**6)
    except FsserverError:
        return
    assert patched(text, unified("/f", text, edited.text, edited.regions)) == edited.text


@st.composite
def splices(draw: st.DrawFn, length: int) -> list[Splice]:
    points = sorted(draw(st.lists(st.integers(0, length), max_size=8)))
    pairs = list(zip(points[::2], points[1::2], strict=False))
    return [
        Splice(start, end, draw(NEW))
        for number, (start, end) in enumerate(pairs)
        if number == 0 or start > pairs[number - 1][1] or (start == pairs[number - 1][1] and end > start)
    ]


@given(st.data())
def test_regions_of_any_splices_hold_every_difference(data: st.DataObject) -> None:
    first = text = data.draw(TEXTS)
    regions: list[Region] = []
    for _ in range(data.draw(st.integers(1, 4))):
        each = data.draw(splices(len(text)))
        regions = compose(regions, each)
        text = apply(text, each)
    position = moved = 0
    for a, b, c, d in [*regions, Region(len(first), len(first), len(text), len(text))]:
        assert position <= a <= b
        assert first[position:a] == text[moved:c]
        position, moved = b, d
    assert patched(first, unified("/f", first, text, regions)) == text


@given(TEXTS)
def test_positions_find_their_way_back(text: str) -> None:
    normal = Normal.of(text)
    assert normal.text == with_lf(text)
    for position in range(len(normal.text) + 1):
        assert with_lf(text[: normal.back(position)]) == normal.text[:position]


@settings(deadline=None, max_examples=60)
@given(
    marked_texts(),
    NEW,
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"]),
    st.booleans(),
)
def test_file_keeps_every_byte_outside_the_edit(
    text: tuple[str, str, str], new: str, encoding: str, marked: bool
) -> None:
    before, old, after = text
    assume(not (before.endswith("\r") and old.startswith("\n")))
    assume(not (old.endswith("\r") and after.startswith("\n")))
    mark = "\ufeff" if marked or encoding != "utf-8" else ""
    head, tail = (mark + before).encode(encoding), after.encode(encoding)
    with tempfile.TemporaryDirectory() as base:
        top = Path(base, "work")
        top.mkdir()
        (top / "f").write_bytes(head + old.encode(encoding) + tail)
        with served(Path(base), [rules(top)]) as gate:
            result = gate.call("edit_file", path="f", edits=[{"oldText": old, "newText": new}])
        assert not result.is_error, texts(result)
        data = (top / "f").read_bytes()
    assert data.startswith(head)
    assert data.endswith(tail)
    assert texts(result)[0].endswith(hashlib.sha256(data).hexdigest())


PATTERNS = st.text(st.sampled_from("ab*?[]!^-{},./\\#()+@"), max_size=14)
PATHS = st.text(st.sampled_from("ab./*é\n"), min_size=1, max_size=12).filter(lambda path: not path.startswith("/"))


@given(PATTERNS, PATHS)
def test_any_pattern_is_refused_in_words_or_answers(pattern: str, path: str) -> None:
    try:
        matches = compile_glob(pattern)
    except FsserverError:
        return
    assert matches(path) in (True, False)
    if pattern and not pattern.startswith(("!", "#")):
        assert compile_glob("!" + pattern)(path) is not matches(path)
