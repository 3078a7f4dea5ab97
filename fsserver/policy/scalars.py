"""What an unquoted value means: YAML 1.2's core schema, less what YAML 1.1 reads differently."""

from __future__ import annotations

import re

from fsserver.policy.problems import Code
from fsserver.policy.text import shortened

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {"true": True, "false": False, "null": None, "~": None, "": None}

_MAX_DIGITS = 15
_AMBIGUOUS = tuple(
    (re.compile(pattern), code, message, help_text)
    for pattern, code, message, help_text in (
        (
            r"(?i:yes|no|on|off)",
            Code.AMBIGUOUS,
            "{} is text to some programs and true or false to others",
            'write true or false, or "{}" in quotes if it is text',
        ),
        (
            r"True|TRUE|False|FALSE|Null|NULL",
            Code.AMBIGUOUS,
            "{} is text to some programs and not to others",
            "write it in lower case, or in quotes if it is text",
        ),
        (
            r"[-+]?0[0-9_]+|[-+]?0o[0-7_]+|0[xX][0-9a-fA-F_]+|0b[01_]+",
            Code.AMBIGUOUS,
            "{} is not a decimal number",
            "write the decimal number, or quotes if it is text",
        ),
        (
            r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?",
            Code.AMBIGUOUS,
            "{} is a number in base 60 to some programs",
            "write a duration with its unit, such as 90s, or quotes if it is text",
        ),
        (
            r"[-+]?\.?[0-9][0-9_]*_[0-9_]*|\+[0-9.]+|[-+]?[0-9.]+[eE][-+]?[0-9]+|[-+]?\.(?i:inf|nan)",
            Code.AMBIGUOUS,
            "{} is a number to some programs and text to others",
            "write plain digits, or quotes if it is text",
        ),
        (
            rf"-?[0-9.]{{{_MAX_DIGITS + 1},}}",
            Code.TOO_BIG,
            f"a number has at most {_MAX_DIGITS} digits",
            "write a larger unit",
        ),
    )
)


def ambiguity(text: str) -> tuple[Code, str, str] | None:
    """Why ``text`` must not stand without quotes: code, message, help. None if its meaning is plain."""
    for pattern, code, message, help_text in _AMBIGUOUS:
        if pattern.fullmatch(text):
            return code, message.format(shortened(text)), help_text.format(shortened(text))
    return None


def plain_value(text: str) -> Scalar:
    """The value of an unquoted text that has no `ambiguity`."""
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
        return int(text)
    if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", text):
        return float(text)
    return text
