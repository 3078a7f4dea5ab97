"""Where fsserver answers otherwise than the reference server, and why. Nothing else may differ.

`ALWAYS` says what holds for every answer; the comparison takes it into account. `DIFFERENCES` names rows: what fsserver
answers there is in fsserver.json, and a row that answers like the reference after all has to leave the list.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason and its rows.

    Attributes:
        title: what fsserver does.
        reason: why, in a sentence or two.
        rows: ids, or beginnings of ids that end with ``*``.
    """

    title: str
    reason: str
    rows: tuple[str, ...]

    def covers(self, row: str) -> bool:
        return any(row == each or (each.endswith("*") and row.startswith(each[:-1])) for each in self.rows)


ALWAYS: tuple[tuple[str, str], ...] = (
    (
        "A result's text is sent once.",
        "The reference sends it again as structuredContent, which doubles what a model reads.",
    ),
    (
        "Writes and edits end with a line `sha256: …`.",
        "It is what `expectedSha256` takes, so that a client can refuse to overwrite what it has not read.",
    ),
    (
        "A refusal can have lines `rule: …` and `allowed instead: …` after the reference's text.",
        "A model that knows which rule refused, and what it may do, plans instead of probing.",
    ),
    (
        "Tools have more parameters, and there are more tools.",
        "Those of the reference keep their names, types, defaults and hints. `read_file`, deprecated there, is "
        "answered and not listed.",
    ),
)

DIFFERENCES: tuple[Difference, ...] = ()


def of_row(row: str) -> Difference | None:
    """The difference that excuses a row."""
    for difference in DIFFERENCES:
        if difference.covers(row):
            return difference
    return None
