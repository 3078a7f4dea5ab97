"""All rows, by their id."""

from __future__ import annotations

from tests.compat import editing, finding, listing, places, reading, writing
from tests.compat.case import Case

CASES: tuple[Case, ...] = (
    *reading.CASES,
    *writing.CASES,
    *editing.CASES,
    *listing.CASES,
    *finding.CASES,
    *places.CASES,
)

BY_ID = {case.id: case for case in CASES}
assert len(BY_ID) == len(CASES), "two rows with one id"
