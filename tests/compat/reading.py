"""Rows: reading text, reading media, reading several files."""

from __future__ import annotations

from tests.compat.case import WORK, Case, do, row

# One transparent pixel; the other media need no valid contents, the servers go by the name.
PNG = (
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489000000"
    "0d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def _read(name: str, tree: str, *paths: str) -> Case:
    return row(name, tree, *(do("read_text_file", path=path) for path in paths or (f"{WORK}/a.txt",)))


def _part(name: str, content: str, **part: object) -> Case:
    return row(name, f"file work/a.txt {content}", do("read_text_file", path=f"{WORK}/a.txt", **part))


def _media(extension: str, tree: str | None = None) -> Case:
    tree = tree or f"bytes work/a{extension} 00ff10fe"
    return row(f"media/{extension or 'no extension'}", tree, do("read_media_file", path=f"{WORK}/a{extension}"))


WHOLE = (
    _read("read/whole file", r'file work/a.txt "one\ntwo\nthree\n"'),
    _read("read/empty file", 'file work/a.txt ""'),
    _read("read/no final newline", r'file work/a.txt "one\ntwo"'),
    _read("read/only newlines", r'file work/a.txt "\n\n\n"'),
    _read("read/beyond ASCII", r'file work/a.txt "na\u00efve \u65e5\u672c\u8a9e \ud83d\ude00\n"'),
    _read("read/carriage returns", r'file work/a.txt "one\r\ntwo\r\n"'),
    _read("read/byte order mark", r'file work/a.txt "\ufeffone\n"'),
    _read("read/control characters", r'file work/a.txt "a\u0000b\u001b[31mc\u2028d\n"'),
    _read("read/line separators that are no newlines", r'file work/a.txt "a\u2028b\u0085c\fd\u000be\n"'),
    _read("read/a long line", 'repeat work/a.txt 20000 "x"'),
    _read("read/Latin-1 bytes", "bytes work/a.txt 636166e90a"),
    _read("read/a character cut off at the end", "bytes work/a.txt 6f6b20e282"),
    _read("read/UTF-16", "bytes work/a.txt fffe610062000a00"),
    _read("read/hidden file", r'file work/.hidden "x\n"', f"{WORK}/.hidden"),
    _read("read/name with spaces", r'file work/%20a%20b%20 "x\n"', f"{WORK}/ a b "),
    _read("read/name beyond ASCII", r'file work/caf%C3%A9.txt "x\n"', f"{WORK}/caf\u00e9.txt"),
    _read("read/name with quotes", r'file work/"a" "x\n"', f'{WORK}/"a"'),
    _read("read/name with a backslash", r'file work/a%5Cb "x\n"', f"{WORK}/a\\b"),
    _read("read/name with a newline", r'file work/a%0Ab "x\n"', f"{WORK}/a\nb"),
    _read("read/directory", "dir work/sub", f"{WORK}/sub"),
    _read("read/root", "", WORK),
    row(
        "read/deprecated name",
        r'file work/a.txt "x\ny\n"',
        do("read_file", path=f"{WORK}/a.txt"),
        do("read_file", path=f"{WORK}/a.txt", head=1),
    ),
)

TEN = r'"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"'

PARTS = (
    _part("head/1", TEN, head=1),
    _part("head/3", TEN, head=3),
    _part("head/all lines", TEN, head=10),
    _part("head/one more than there are", TEN, head=11),
    _part("head/many more than there are", TEN, head=1000),
    _part("head/no final newline, all lines", r'"1\n2\n3"', head=3),
    _part("head/no final newline, more", r'"1\n2\n3"', head=5),
    _part("head/empty file", '""', head=5),
    _part("head/only newlines", r'"\n\n\n"', head=2),
    _part("head/carriage returns", r'"1\r\n2\r\n3\r\n"', head=2),
    _part("head/beyond ASCII", r'"\u65e5\n\u672c\n\u8a9e\n"', head=2),
    _part("head/0", TEN, head=0),
    _part("head/negative", TEN, head=-1),
    _part("head/a fraction", TEN, head=1.5),
    _part("head/a string", TEN, head="2"),
    _part("head/null", TEN, head=None),
    row(
        "head/lines longer than a block",
        r'repeat work/a.txt 6 "0123456789abcdef\u65e50123456789abcdef\ud83d\ude000123456789abcdef\u65e5\n"',
        do("read_text_file", path=f"{WORK}/a.txt", head=4),
    ),
    row(
        "head/a line longer than a block",
        r'repeat work/a.txt 3000 "ab"',
        do("read_text_file", path=f"{WORK}/a.txt", head=1),
    ),
    row("head/many lines", r'repeat work/a.txt 3000 "abc\n"', do("read_text_file", path=f"{WORK}/a.txt", head=2000)),
    _part("tail/1", TEN, tail=1),
    _part("tail/2", TEN, tail=2),
    _part("tail/3", TEN, tail=3),
    _part("tail/all lines", TEN, tail=10),
    _part("tail/one more than there are", TEN, tail=11),
    _part("tail/many more than there are", TEN, tail=1000),
    _part("tail/no final newline, 1", r'"1\n2\n3"', tail=1),
    _part("tail/no final newline, 2", r'"1\n2\n3"', tail=2),
    _part("tail/no final newline, all lines", r'"1\n2\n3"', tail=3),
    _part("tail/no final newline, more", r'"1\n2\n3"', tail=9),
    _part("tail/empty file", '""', tail=5),
    _part("tail/only newlines", r'"\n\n\n"', tail=2),
    _part("tail/carriage returns", r'"1\r\n2\r\n3\r\n"', tail=2),
    _part("tail/beyond ASCII", r'"\u65e5\n\u672c\n\u8a9e\n"', tail=2),
    _part("tail/0", TEN, tail=0),
    _part("tail/negative", TEN, tail=-1),
    row("tail/many lines", r'repeat work/a.txt 3000 "abc\n"', do("read_text_file", path=f"{WORK}/a.txt", tail=2000)),
    row(
        "tail/a line longer than a block",
        r'repeat work/a.txt 3000 "ab"',
        do("read_text_file", path=f"{WORK}/a.txt", tail=1),
    ),
    _part("head/with tail", TEN, head=1, tail=1),
    row(
        "head/directory",
        "dir work/sub",
        do("read_text_file", path=f"{WORK}/sub", head=1),
        do("read_text_file", path=f"{WORK}/sub", tail=1),
    ),
    row(
        "head/missing file",
        "",
        do("read_text_file", path=f"{WORK}/a.txt", head=1),
        do("read_text_file", path=f"{WORK}/a.txt", tail=1),
    ),
)

MEDIA = (
    _media(".png", f"bytes work/a.png {PNG}"),
    *(_media(extension) for extension in (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".mp3", ".wav", ".ogg", ".flac")),
    _media(".svg", 'file work/a.svg "<svg/>"'),
    _media(".PNG", f"bytes work/a.PNG {PNG}"),
    _media(".txt", r'file work/a.txt "text\n"'),
    _media(".pdf"),
    _media(""),
    row("media/hidden file named like an extension", "bytes work/.png 00", do("read_media_file", path=f"{WORK}/.png")),
    row("media/two extensions", "bytes work/a.png.gz 00", do("read_media_file", path=f"{WORK}/a.png.gz")),
    row(
        "media/empty file",
        'file work/a.png ""\nfile work/a.bin ""',
        do("read_media_file", path=f"{WORK}/a.png"),
        do("read_media_file", path=f"{WORK}/a.bin"),
    ),
    row(
        "media/name that a URI must escape",
        "bytes work/a%20b%23c%3Fd%25e%C3%A9%5B1%5D.bin 00",
        do("read_media_file", path=f"{WORK}/a b#c?d%e\u00e9[1].bin"),
    ),
    row("media/larger than a block", 'repeat work/a.png 70000 "abc"', do("read_media_file", path=f"{WORK}/a.png")),
    row(
        "media/through a link",
        "bytes work/a.bin 00\nlink work/b.png -> a.bin",
        do("read_media_file", path=f"{WORK}/b.png"),
    ),
    row("media/directory", "dir work/sub", do("read_media_file", path=f"{WORK}/sub")),
)

SEVERAL = (
    row("several/one", r'file work/a.txt "x\n"', do("read_multiple_files", paths=[f"{WORK}/a.txt"])),
    row(
        "several/in the order asked for",
        r"""
        file work/a.txt "a\n"
        file work/b.txt "b"
        file work/c.txt ""
        """,
        do("read_multiple_files", paths=[f"{WORK}/c.txt", f"{WORK}/a.txt", f"{WORK}/b.txt"]),
    ),
    row(
        "several/twice the same", r'file work/a.txt "x\n"', do("read_multiple_files", paths=[f"{WORK}/a.txt", "a.txt"])
    ),
    row(
        "several/some fail",
        r"""
        file work/a.txt "a\n"
        file outside/s.txt "secret\n"
        dir work/sub
        """,
        do(
            "read_multiple_files",
            paths=[f"{WORK}/a.txt", f"{WORK}/none.txt", "/BASE/outside/s.txt", f"{WORK}/sub", "../outside/s.txt"],
        ),
    ),
    row("several/all fail", "", do("read_multiple_files", paths=[f"{WORK}/none.txt", "/none"])),
    row("several/none asked for", "", do("read_multiple_files", paths=[])),
    row("several/not a list", "", do("read_multiple_files", paths=f"{WORK}/a.txt")),
    row("several/not strings", "", do("read_multiple_files", paths=[1])),
    row("several/carriage returns", r'file work/a.txt "x\r\n"', do("read_multiple_files", paths=["a.txt"])),
)

CASES = (*WHOLE, *PARTS, *MEDIA, *SEVERAL)
