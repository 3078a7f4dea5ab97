"""Which stretches of a text were replaced, followed through any number of edits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Splice(NamedTuple):
    """``text[start:end]`` of the text before the edit becomes ``new``."""

    start: int
    end: int
    new: str


class Region(NamedTuple):
    """``old[a:b]`` of the first text became ``new[c:d]`` of the last one. What lies between regions is identical."""

    a: int
    b: int
    c: int
    d: int


def apply(text: str, splices: Sequence[Splice]) -> str:
    """The text with every splice applied. They are sorted and do not overlap."""
    pieces: list[str] = []
    position = 0
    for start, end, new in splices:
        pieces.append(text[position:start])
        pieces.append(new)
        position = end
    pieces.append(text[position:])
    return "".join(pieces)


def compose(regions: Sequence[Region], splices: Sequence[Splice]) -> list[Region]:
    """The regions after one more edit of the text that ``regions`` describe. Linear in both."""
    merged: list[Region] = []
    shift = 0  # (position after the splices) - (position before), for all splices left of where we are
    back = 0  # (position in the first text) - (position before the splices), behind all regions left of where we are
    i = j = 0
    while i < len(regions) or j < len(splices):
        start = min(
            regions[i].c if i < len(regions) else splices[j].start,
            splices[j].start if j < len(splices) else regions[i].c,
        )
        end, first, moved = start, start + back, start + shift
        # Swallow everything that touches: a region that was edited again is one region.
        while True:
            if i < len(regions) and regions[i].c <= end:
                end = max(end, regions[i].d)
                back = regions[i].b - regions[i].d
                i += 1
            elif j < len(splices) and splices[j].start <= end:
                end = max(end, splices[j].end)
                shift += len(splices[j].new) - (splices[j].end - splices[j].start)
                j += 1
            else:
                break
        merged.append(Region(first, end + back, moved, end + shift))
    return merged


def shifted(regions: Sequence[Region], by: int) -> list[Region]:
    """The regions of the same texts with ``by`` more characters before both."""
    return [Region(*(position + by for position in region)) for region in regions]
