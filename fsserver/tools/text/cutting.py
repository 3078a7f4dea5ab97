"""As much of a text as a budget holds. Pure."""

from __future__ import annotations


def cut(text: str, limit_bytes: int, note: str = "") -> str:
    """The text, or as much of its beginning as fits ``limit_bytes`` of UTF-8 together with ``note``, then the note."""
    if len(text) * 4 <= limit_bytes:
        return text
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= limit_bytes:
        return text
    room = max(0, limit_bytes - len(note.encode("utf-8")))
    return data[:room].decode("utf-8", "ignore") + note


def cut_lines(text: str, limit_bytes: int) -> tuple[str, int, bool]:
    """As many whole lines from the beginning as fit.

    Returns:
        The text kept, how many lines that is, and whether its only line is cut inside because it alone is too long.
    """
    if len(text) * 4 > limit_bytes:
        data = text.encode("utf-8")
        if len(data) > limit_bytes:
            end = data.rfind(b"\n", 0, limit_bytes) + 1
            kept = data[: end or limit_bytes].decode("utf-8", "ignore")
            return kept, kept.count("\n") if end else 1, not end
    return text, count_lines(text), False


def cut_first_lines(text: str, limit_bytes: int) -> tuple[str, int, bool]:
    """As `cut_lines`, of the end. Nothing is left of a last line that alone is too long; it is not cut inside."""
    data = text.encode("utf-8")
    if len(data) > limit_bytes:
        begin = data.find(b"\n", len(data) - limit_bytes - 1) + 1
        text = data[begin:].decode("utf-8") if begin else ""
    return text, count_lines(text), False


def utf8_length(text: str) -> int:
    """How many bytes the text is in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def count_lines(text: str) -> int:
    """Lines of the text; an unfinished last one counts, an empty text has none."""
    return text.count("\n") + (not text.endswith("\n") if text else 0)
