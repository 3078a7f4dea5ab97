"""HTML built from elements: every text is escaped once, and nothing but `Markup` gets into a page as it is. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple


class Markup(str):
    """Text that is HTML already. Made here only."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """``<name attributes>children</name>``. Of an attribute's name a last ``_`` is left out; others become hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def void(name: str, /, **attributes: str) -> Markup:
    """An element without content: ``meta``."""
    return Markup(element(name, **attributes).removesuffix(f"</{name}>"))


def joined(children: Sequence[str]) -> Markup:
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def literal(text: str) -> Markup:
    """A constant of the program, never a text from a log."""
    return Markup(text)


class Column(NamedTuple):
    """A column of a table; ``kind``: class of its cells. The first column holds the rows' headings."""

    title: str
    kind: str = ""


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Markup:
    """In a container of its own, which scrolls where the page is narrower, also by keyboard."""
    head = element("tr", *(_cell("th", column, column.title, scope="col") for column in columns))
    body = [
        element(
            "tr",
            *(
                _cell("td", column, cell) if place else _cell("th", column, cell, scope="row")
                for place, (column, cell) in enumerate(zip(columns, row, strict=True))
            ),
        )
        for row in rows
    ]
    whole = element(
        "table", element("caption", element("span", caption)), element("thead", head), element("tbody", *body)
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(name: str, column: Column, content: str, **attributes: str) -> Markup:
    return element(name, content, **({"class_": column.kind} if column.kind else {}), **attributes)
