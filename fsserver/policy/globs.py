"""Globs of the policy as regular expressions that stay fast on hostile names. Standard library only.

The language is that of gitignore(5) without ``!``: ``*``, ``?``, ``[a-z]``, ``[!a-z]``, ``\\x``, ``**`` as a whole
component; a glob without a slash before its end matches at any depth, any other begins at the root. A glob that
matches a directory matches everything below it. One difference, on the strict side: a trailing slash is ignored,
since a name is protected whatever it may turn out to be.

*Trust.* Globs are written by the operator. The names they are matched with come from attackers: up to 4096 bytes.

*Invariant.* Matching takes time linear in the name for each component of the glob: every star and every ``**`` takes
its first fit in an atomic group and never tries another. That is exact, because what lies between two stars has a
fixed length and what lies between two ``**`` has a fixed number of components.
"""

from __future__ import annotations

import re

MAX_GLOB = 1024

# The end of a component. Without `\\Z` too, a name would have to be a directory to be matched.
_END = r"(?=/|\Z)"
_ANY_COMPONENTS = r"(?:/[^/]++)*?"


# What other tools take for alternatives: here it would be part of a name, so that the rule would protect nothing.
_BRACES = re.compile(r"(?<![\\\[])\{[^{}]*(?:,|\.\.)[^{}]*\}")
_POINTLESS_ESCAPE = re.compile(r"(?:[^\\]|\A)(?:\\\\)*\\[A-Za-z0-9]")


class GlobError(ValueError):
    """The glob has no meaning, or another one than it seems to have. ``help`` says what to write instead."""

    def __init__(self, message: str, help: str | None = None) -> None:  # noqa: A002 - as in Problem
        super().__init__(message)
        self.message = message
        self.help = help


def components(glob: str) -> tuple[str, ...]:
    """The glob's components from the root on; ``**`` stands for any number of directories.

    Raises:
        GlobError: the glob has no meaning.
    """
    body = glob.removesuffix("/")
    parts = body.removeprefix("/").split("/")
    if "/" not in body:
        parts = ["**", *parts]
    if any(part in ("", ".", "..") for part in parts):
        raise GlobError('a glob holds no empty, "." or ".." component', "write the path as it is beneath the root")
    collapsed = [part for index, part in enumerate(parts) if part != "**" or parts[index - 1 : index] != ["**"]]
    for part in collapsed:
        if part != "**":
            component_regex(part)
    return tuple(collapsed)


def refuse_traps(glob: str) -> None:
    """Raise `GlobError` for a glob that means something else than whoever writes it is likely to think."""
    if not glob or len(glob) > MAX_GLOB:
        raise GlobError(f"a glob has 1 to {MAX_GLOB} characters")
    if any(ord(character) < 32 or ord(character) == 127 for character in glob):
        raise GlobError("a glob holds no control characters")
    if glob.strip() != glob:
        raise GlobError("a glob does not begin or end with a space", r"if the name really does, write [ ] for it")
    if glob[0] == "!":
        raise GlobError("a glob does not begin with !", "write {glob: …, except: […]} to take names out of a rule")
    if glob[0] == "#":
        raise GlobError("a glob does not begin with #", r"if the name really does, write \# for it")
    if glob == "~" or glob.startswith("~/"):
        raise GlobError("a glob begins at its root, not at home", "write the path as it is beneath the root")
    if _BRACES.search(glob):
        raise GlobError("braces do not list alternatives", "write one glob for each, or [{] for a brace in a name")
    if ", " in glob:
        raise GlobError("a glob is one pattern, not several", "write one item for each, or [,] for a comma in a name")
    if _POINTLESS_ESCAPE.search(glob):
        raise GlobError(r"a backslash does not separate directories", r"write /, or \\ for a backslash in a name")


def regex_source(glob: str) -> tuple[bool, str]:
    """The glob as ``(floating, source)``, to be matched with ``"/" + name`` under ``re.DOTALL``.

    A floating source is tried after any slash, another only after the first. Neither holds that slash or a
    capturing group. Raises `GlobError`.
    """
    parts = components(glob)
    floating = parts[0] == "**"
    tail = ""
    if len(parts) > 1 and parts[-1] == "**":
        tail = "(?=/)"  # `a/**` is what lies below a, not a itself
        parts = parts[:-1]
    if parts == ("**",):
        return True, r"(?!\Z)"
    groups: list[list[str]] = [[]]
    for part in parts[1:] if floating else parts:
        if part == "**":
            groups.append([])
        else:
            groups[-1].append(component_regex(part))
    first, *rest = ["/".join(group) for group in groups]
    if not rest:
        return floating, first + tail
    # With an inner `**` a second start could only repeat the work: find the first group once, from the root.
    head = f"(?>(?:[^/]++/)*?{first})" if floating else first
    return False, head + "".join(f"(?>{_ANY_COMPONENTS}/{group})" for group in rest) + tail


def component_regex(part: str) -> str:
    """One component of a glob, other than ``**``, up to the component's end. Raises `GlobError`."""
    chunks: list[str] = [""]
    at = 0
    while at < len(part):
        character = part[at]
        at += 1
        if character == "*":
            chunks.append("")
        elif character == "?":
            chunks[-1] += "[^/]"
        elif character == "[":
            source, at = _bracket(part, at)
            chunks[-1] += source
        elif character == "\\":
            if at == len(part):
                raise GlobError("a backslash at the end of a component escapes nothing", r"write \\ for a backslash")
            chunks[-1] += re.escape(part[at])
            at += 1
        else:
            chunks[-1] += re.escape(character)
    if part.strip("*") == "":
        return "[^/]++"
    if len(chunks) == 1:
        return chunks[0] + _END
    first, *inner, last = chunks
    return f"(?>{first}{''.join(f'(?>[^/]*?{chunk})' for chunk in inner if chunk)}[^/]*{last}{_END})"


def _bracket(part: str, at: int) -> tuple[str, int]:
    """The class that begins before ``at``, and where it ends. It never matches a slash, as fnmatch(3) has it."""
    negated = part[at : at + 1] in ("!", "^")
    at += negated
    members = ""
    first = True
    while first or part[at : at + 1] != "]":
        low, at = _member(part, at)
        first = False
        if part[at : at + 1] == "-" and part[at + 1 : at + 2] not in ("", "]"):
            high, at = _member(part, at + 1)
            if high < low:
                raise GlobError(f"the range {low}-{high} is empty")
            members += f"{re.escape(low)}-{re.escape(high)}"
        else:
            members += re.escape(low)
    return f"(?!/)[{'^' if negated else ''}{members}]", at + 1


def _member(part: str, at: int) -> tuple[str, int]:
    if part[at : at + 1] == "\\":
        at += 1
    elif part.startswith(("[:", "[.", "[="), at):
        raise GlobError("named character classes such as [:alpha:] are not supported", "write a range, as in [a-z]")
    if at >= len(part):
        raise GlobError("the bracket is not closed", r"write \[ for a bracket that is part of the name")
    return part[at], at + 1
