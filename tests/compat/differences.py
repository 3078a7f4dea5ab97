"""Where fsserver answers otherwise than the reference server, and why. Nothing else may differ.

`ALWAYS` says what holds for every answer; the comparison takes it into account. `DIFFERENCES` names rows: what fsserver
answers there is in fsserver.json, and a row that answers like the reference after all has to leave the list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason and its rows.

    Attributes:
        title: what fsserver does.
        reason: why, in a sentence or two.
        rows: ids; an ellipsis in one stands for any text.
    """

    title: str
    reason: str
    rows: tuple[str, ...]

    def covers(self, row: str) -> bool:
        return any(covers(pattern, row) for pattern in self.rows)


def covers(pattern: str, row: str) -> bool:
    """Whether a pattern of `Difference.rows` means this row."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("…")), row) is not None


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
    (
        "Files and directories are resources too.",
        "The reference has tools only. A client can attach a file by its `file://` URI, and complete its path.",
    ),
)

DIFFERENCES: tuple[Difference, ...] = (
    # --- Arguments
    Difference(
        "Unknown arguments are refused.",
        "A misspelt parameter that is ignored does something else than what was asked for.",
        ("arguments/one that no … knows", "allowed/arguments that nobody asked for"),
    ),
    Difference(
        "A null is the same as a missing argument.",
        "Clients whose models write null for what they leave out work too.",
        ("head/null",),
    ),
    Difference(
        "`head` and `tail` are whole numbers from 1.",
        "The reference returns the whole file for 0 and nothing for -1.",
        ("head/0", "head/negative", "head/a fraction", "tail/0", "tail/negative"),
    ),
    # --- Text and bytes
    Difference(
        "Bytes that are not UTF-8 are never shown as replacement characters, and never written back as such.",
        "UTF-16 with a byte order mark is decoded. For other bytes the error suggests an encoding.",
        ("read/Latin-1 bytes", "read/a character cut off at the end", "read/UTF-16", "edit/Latin-1 bytes"),
    ),
    Difference(
        "A file with NUL bytes is not text.",
        "It is nearly always a binary file. `encoding` reads it all the same.",
        ("read/control characters", "edit/control characters"),
    ),
    Difference(
        "`tail` keeps carriage returns.",
        "What is read is what is in the file; the reference keeps them everywhere else.",
        ("tail/carriage returns",),
    ),
    Difference(
        "An edit keeps the file's line endings, also mixed ones, and its diff shows them.",
        "The reference rewrites a CRLF file as LF and hides it in the diff.",
        ("edit/carriage returns in the file…", "edit/carriage returns in both", "edit/mixed line endings"),
    ),
    # --- Edits
    Difference(
        "An `oldText` that matches more than once is refused, with the lines.",
        "The reference takes the first match silently. `replaceAll` and `expectedReplacements` say what is meant.",
        ("edit/text twice in the file", "edit/window twice in the file"),
    ),
    Difference(
        "An `oldText` that is empty or blank says no place.",
        "The reference inserts at the beginning of the file, or into any blank line.",
        ("edit/empty old text", "edit/old text is only spaces"),
    ),
    Difference(
        "Where `oldText` is not found, the error goes on with the nearest text and how it differs.",
        "A model corrects itself with one call instead of reading the file again.",
        (
            "edit/dry run that fails",
            "edit/fuzzy takes the window of whole lines only",
            "edit/text that is not there",
            "edit/text of several lines that is not there",
            "edit/second edit fails, nothing changes",
            "edit/an empty file",
        ),
    ),
    Difference(
        "A match with other indentation keeps the depth of every line.",
        "The reference flattens the lines after the first, which changes what Python means.",
        (
            "edit/other indentation, block",
            "edit/other indentation, block grows",
            "edit/other indentation, less deep",
            "edit/fuzzy new text with blank lines",
        ),
    ),
    # --- Names
    Difference(
        "Names that are not UTF-8, and control characters in names, are shown escaped, and the escaped name works.",
        "A newline in a name would forge a line of a listing; a replacement character leads nowhere.",
        ("list/name that is not UTF-8", "list/name with a newline", "tree/names that JSON must escape"),
    ),
    Difference(
        "Names sort by base letter beyond ASCII too, but symbols and ß sort last.",
        "The order of names in `list_directory_with_sizes` is the reference's for ASCII; there is no ICU in Python.",
        ("sizes/names beyond ASCII", "sizes/names wide or long"),
    ),
    Difference(
        "`?` in a glob is one character, also where UTF-16 needs two units.",
        "Who writes `?` means what is seen as one.",
        ("search/one character beyond ASCII",),
    ),
    Difference(
        "Extended globs, `+(a|b)` and their kin, are refused.",
        "They can take time without bound. Braces, `{a,b}`, do the same for nearly all uses.",
        (
            "search/pattern +(a|b).txt",
            "search/pattern @(a|b).txt",
            "search/pattern ?(a)bc.txt",
            "search/pattern *(a|b|c).txt",
            "tree/exclude with an extended glob",
        ),
    ),
    # --- Links and places
    Difference(
        "Moving a link moves the link.",
        "The reference moves what it leads to, and cannot move a link that leads nowhere or outside.",
        (
            "move/a link…",
            "move/over a link",
            "place/a link to …/move_file",
            "place/a link to …/move_file to",
            "place/a link that leads nowhere…/move_file",
            "place/a link that leads nowhere…/move_file to",
        ),
    ),
    Difference(
        "A link that leaves its root is refused wherever it leads to, also to another root or back.",
        "What is beneath a root is decided without looking outside of it. An absolute link into the same root works.",
        ("place/through the parent and back/…", "roots/a link from the first to the second"),
    ),
    Difference(
        "A refusal never names where a link leads to.",
        "That is a fact about the machine outside of what the policy grants.",
        (
            "place/a link to an outside …",
            "place/a link to the parent of the root/…",
            "place/below a link to an outside directory/…",
            "place/missing below a link to an outside directory/…",
            "place/a link that leads nowhere outside/…",
        ),
    ),
    Difference(
        "A link that leads nowhere is missing, and nothing is created through it.",
        "The reference says that the link's own directory does not exist, which it does.",
        ("place/a link that leads nowhere/…",),
    ),
    Difference(
        "The size of what a link leads to outside of the root is not shown.",
        "The reference tells the size of any file on the machine.",
        ("sizes/a link that leads outside",),
    ),
    Difference(
        "A relative path is tried in every root, in order.",
        "The reference takes the first root even if the file is only in the second.",
        ("roots/relative, in the second root only",),
    ),
    Difference(
        "A refusal shows `~` as it was written.",
        "Where the home directory is, is a fact about the machine.",
        ("place/home/…", "place/below home, outside/…"),
    ),
    Difference(
        "A `..` leaves the directory before it, which has to exist.",
        "The kernel resolves paths, not a comparison of texts. The error shows the path as it was given.",
        ("place/dots through a missing directory/…", "make/path as given", "edit/path as given"),
    ),
    # --- Wording
    Difference(
        "A move that fails names the path that is missing, the source first.",
        "The reference names both paths, whichever is missing, and a destination that exists before a missing source.",
        (
            "move/missing source…",
            "move/parent of the destination missing",
            "place/below a missing directory/move_file…",
            "place/another home/move_file…",
            "place/a tilde inside/move_file…",
            "place/a file URI/move_file…",
            "place/empty/move_file…",
        ),
    ),
    Difference(
        "A missing file is one that cannot be opened, also for `tail`.",
        "The reference says `stat` there.",
        ("head/missing file",),
    ),
    Difference(
        "A root is never moved, deleted or written over, and the error says so.",
        "The reference passes on what the kernel says.",
        ("move/the root",),
    ),
    Difference(
        "Writing over a directory names the directory only.",
        "The reference names its temporary file.",
        (
            "write/over a…directory",
            "write/over the root",
            "place/empty/write_file",
            "place/dots that come back/write_file",
            "place/double slashes/write_file",
        ),
    ),
    Difference(
        "A path with a NUL, or too long, is refused in other words.",
        "They say what is wrong.",
        ("place/a NUL/…", "place/a relative NUL/…", "place/a path too long/…"),
    ),
)


def of_row(row: str) -> Difference | None:
    """The difference that excuses a row."""
    for difference in DIFFERENCES:
        if difference.covers(row):
            return difference
    return None
