"""What the options of ``fsserver audit`` take: times, words of a known list, heads, keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from fsserver.errors import ConfigError

if TYPE_CHECKING:
    from fsserver.audit.signing import PublicKey

_AGO = re.compile(r"(\d{1,9})(s|m|h|d|w)", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Moment(click.ParamType[datetime]):
    """RFC 3339 with a zone, or how long ago: ``10m``, ``2h``, ``3d``."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        ago = _AGO.fullmatch(text)
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _UNITS[ago[2]])
            at = datetime.fromisoformat(text)
        except (ValueError, OverflowError):
            at = None
        if at is None:
            self.fail(f"{text!a} is neither a time as 2026-11-23T16:42:00Z nor an age as 10m, 2h or 3d.", param, ctx)
        if at.tzinfo is None:
            self.fail(f"{text!a} has no zone: write {at.isoformat()}Z for UTC, as the log has it.", param, ctx)
        return at


class Known(click.ParamType[str]):
    """One of a list of words; the nearest one is named if it is another."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if text in self._known:
            return text
        import difflib  # noqa: PLC0415 - only after a mistake

        near = difflib.get_close_matches(text.lower(), self._known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(self._known)}."
        return self.fail(f"{text!a} is no {self.name}.{hint}", param, ctx)


def head(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A SHA-256 in hexadecimal."""
    text = None if value is None else value.strip().lower()
    if text is not None and (len(text) != 64 or not set(text) <= set("0123456789abcdef")):
        raise click.BadParameter(
            "a head is 64 hexadecimal digits, as `fsserver audit verify` prints it.", context, parameter
        )
    return text


def _loaded(context: click.Context, parameter: click.Parameter, files: tuple[str, ...]) -> list[PublicKey]:
    if not files:
        return []
    from fsserver.audit.signing import PublicKey  # noqa: PLC0415 - a large library, only where a key is

    try:
        return [PublicKey.load(file) for file in files]
    except ConfigError as error:
        raise click.BadParameter(error.message, context, parameter) from None


public_keys = click.option(
    "--public-key",
    "keys",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    callback=_loaded,
    help="The log must be signed by this key. Repeatable, for a key that was changed.",
)
