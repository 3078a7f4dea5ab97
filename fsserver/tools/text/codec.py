"""Bytes to text and back without changing one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fsserver.errors import BadEncoding
from fsserver.paths.names import display

# Codecs a client may name. Only character sets: no transforms, none that is slow on hostile input (idna, punycode),
# none in which a byte 0x0A can be half of a character, except the UTF-16 and UTF-32 ones, whose unit is known.
_NAMES: Final = (
    "utf-8 ascii latin-1 iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 "
    "iso-8859-9 iso-8859-10 iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 windows-1250 windows-1251 windows-1252 "
    "windows-1253 windows-1254 windows-1255 windows-1256 windows-1257 windows-1258 cp437 cp850 cp852 cp866 koi8-r "
    "koi8-u mac-roman shift-jis cp932 euc-jp gbk gb2312 gb18030 big5 euc-kr cp949 tis-620 "
    "utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be"
)
ENCODINGS: Final = frozenset(_NAMES.split())

# The longest first: the UTF-32 mark begins with the UTF-16 one.
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32-le", 4),
    (b"\x00\x00\xfe\xff", "utf-32-be", 4),
    (b"\xef\xbb\xbf", "utf-8", 1),
    (b"\xff\xfe", "utf-16-le", 2),
    (b"\xfe\xff", "utf-16-be", 2),
)
_FIRST_OF_MARKS: Final = frozenset(mark[:1] for mark, _, _ in _MARKS)
HEAD_BYTES: Final = 4  # how much of a file's beginning `Codec.of` looks at


@dataclass(frozen=True, slots=True)
class Codec:
    """How one file's bytes are characters.

    Attributes:
        name: a codec that has an explicit byte order; a byte order mark is an ordinary character to it.
        unit: bytes of one code unit; a line feed is ``newline``, aligned to it.
        chosen: the client named it, so NUL characters are taken as meant.
    """

    name: str
    unit: int = 1
    chosen: bool = False

    @property
    def newline(self) -> bytes:
        return "\n".encode(self.name)

    def decode(self, data: bytes, shown: str) -> str:
        """Strict. ``shown`` is the file's path for messages, as `Target.shown`.

        Raises:
            BadEncoding: the bytes are not text in this encoding, or look like a binary file. Says what to try.
        """
        try:
            text = data.decode(self.name)
        except UnicodeDecodeError as error:
            if b"\0" in data and not self.chosen:
                raise _binary(shown) from None
            raise BadEncoding(
                f"Not valid {self.name}: {display(shown)} has a byte 0x{data[error.start]:02x} that fits no character.",
                allowed_instead="the encoding you know, or encoding: latin-1, in which every byte is a character",
            ) from None
        if "\0" in text and not self.chosen:
            raise _binary(shown)
        return text

    def encode(self, text: str) -> bytes:
        """Strict.

        Raises:
            BadEncoding: a character does not exist in this encoding.
        """
        try:
            return text.encode(self.name)
        except UnicodeEncodeError as error:
            character = ascii(text[error.start])
            raise BadEncoding(f"The new text holds {character}, which {self.name} cannot write.") from None


UTF8: Final = Codec("utf-8")


def codec_of(head: bytes, encoding: str | None) -> Codec:
    """The codec of a file that begins with ``head``.

    What the client named decides, and where that leaves the byte order open, or it named nothing, a byte order mark;
    then UTF-8. The mark itself stays part of the text.

    Raises:
        BadEncoding: the client named a codec that we do not offer, or the byte order that the mark does not.
    """
    name = None if encoding is None else encoding.strip().lower().replace("_", "-")
    if name is not None and name not in ENCODINGS:
        raise BadEncoding(
            f"Unknown encoding {encoding!r:.60}", allowed_instead="utf-8, utf-16, latin-1, windows-1252, shift-jis …"
        )
    if name is None and head[:1] not in _FIRST_OF_MARKS:
        return UTF8
    wide = name is not None and name.startswith(("utf-16", "utf-32"))
    for mark, marked, unit in _MARKS:
        if head.startswith(mark) and (name is None or marked.startswith(name)):
            return Codec(marked, unit, chosen=unit > 1 or name is not None)
    if name is None:
        return UTF8
    if wide:
        for mark, marked, unit in _MARKS:
            if head.startswith(mark) and unit > 1 and marked[:6] == name[:6]:
                raise BadEncoding(f"The file's byte order mark says {marked}, not {name}.", allowed_instead=name[:6])
        # Without a mark the little-endian order is what today's machines write.
        return Codec(name if name.endswith("e") else f"{name}-le", 2 if "16" in name else 4, chosen=True)
    return Codec(name, chosen=True)


def _binary(shown: str) -> BadEncoding:
    return BadEncoding(
        f"Not a text file: {display(shown)} holds NUL bytes.",
        allowed_instead="read_media_file for the raw bytes, or an encoding such as utf-16-le if it is text",
    )
