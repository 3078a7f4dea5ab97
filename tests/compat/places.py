"""Rows: every tool on every kind of path, and what is asked of the protocol itself."""

from __future__ import annotations

from tests.compat.case import BASE, LINKED_ROOT, TWO_ROOTS, WORK, Call, Case, do, row

INSIDE = r"""
    file work/a.txt "inside\n"
    file work/sub/b.txt "below\n"
    file outside/s.txt "secret\n"
    dir outside/d
    file work-sibling/s.txt "sibling\n"
"""

LINKS = r"""
    link work/in-file -> a.txt
    link work/in-dir -> sub
    link work/out-file -> ../outside/s.txt
    link work/out-dir -> ../outside
    link work/nothing -> none
    link work/out-nothing -> ../outside/none
    link work/loop -> loop
    link work/up -> ..
"""


def _calls(path: str) -> tuple[Call, ...]:
    """Each tool on one path."""
    return (
        do("read_text_file", path=path),
        do("read_media_file", path=path),
        do("read_multiple_files", paths=[path]),
        do("write_file", path=path, content="new\n"),
        do("edit_file", path=path, edits=[{"oldText": "e", "newText": "E"}]),
        do("create_directory", path=path),
        do("list_directory", path=path),
        do("list_directory_with_sizes", path=path),
        do("directory_tree", path=path),
        do("move_file", source=path, destination=f"{WORK}/moved"),
        do("move_file", source=f"{WORK}/a.txt", destination=path),
        do("search_files", path=path, pattern="**"),
        do("get_file_info", path=path),
    )


PLACES = {
    "outside": f"{BASE}/outside/s.txt",
    "an outside directory": f"{BASE}/outside",
    "outside and missing": f"{BASE}/outside/none/none",
    "far outside": "/etc/hostname",
    "the top": "/",
    "the parent of the root": BASE,
    "a sibling whose name begins alike": f"{BASE}/work-sibling/s.txt",
    "dots that lead outside": f"{WORK}/../outside/s.txt",
    "dots that come back": f"{WORK}/sub/../../work/sub",
    "dots through a missing directory": f"{WORK}/none/../a.txt",
    "relative dots that lead outside": "../outside/s.txt",
    "relative dots far outside": "../../../../../../../../etc/hostname",
    "a link to an outside file": f"{WORK}/out-file",
    "a link to an outside directory": f"{WORK}/out-dir",
    "below a link to an outside directory": f"{WORK}/out-dir/s.txt",
    "missing below a link to an outside directory": f"{WORK}/out-dir/none",
    "a link that leads nowhere": f"{WORK}/nothing",
    "a link that leads nowhere outside": f"{WORK}/out-nothing",
    "a link to itself": f"{WORK}/loop",
    "a link to the parent of the root": f"{WORK}/up",
    "through the parent and back": f"{WORK}/up/work/a.txt",
    "below a missing directory": f"{WORK}/none/none",
    "below a file": f"{WORK}/a.txt/x",
    "home": "~",
    "below home, outside": "~/outside/s.txt",
    "another home": "~nobody/x",
    "a tilde inside": f"{WORK}/~/x",
    "a Windows path": "C:\\Users\\x",
    "a Windows path with slashes": "C:/Users/x",
    "a drive": "C:",
    "a file URI": "file:///etc/hostname",
    "empty": "",
    "a NUL": f"{WORK}/a\0b",
    "a relative NUL": "a\0b",
    "a name too long": f"{WORK}/" + "n" * 300,
    "a path too long": f"{WORK}/" + "d/" * 2100 + "x",
    "double slashes": f"/{WORK}//sub",
    "two leading slashes outside": f"/{BASE}//outside/s.txt",
}


# The size of a link to a directory is the directory's, which the file system decides.
NOT_COMPARABLE = {("empty", "list_directory_with_sizes")}


def _place_rows() -> list[Case]:
    rows = []
    for name, path in PLACES.items():
        for number, call in enumerate(_calls(path)):
            if (name, call.tool) not in NOT_COMPARABLE:
                label = f"{call.tool} to" if number == 10 else call.tool
                rows.append(row(f"place/{name}/{label}", INSIDE + LINKS, call))
    return rows


UNICODE = (
    row(
        "unicode/composed name asked for decomposed",
        r'file work/caf%C3%A9.txt "x\n"',
        do("read_text_file", path=f"{WORK}/cafe\u0301.txt"),
    ),
    row(
        "unicode/decomposed name asked for composed",
        r'file work/cafe%CC%81.txt "x\n"',
        do("read_text_file", path=f"{WORK}/caf\u00e9.txt"),
    ),
    row(
        "unicode/write where the other form exists",
        r'file work/cafe%CC%81.txt "x\n"',
        do("write_file", path=f"{WORK}/caf\u00e9.txt", content="y\n"),
    ),
    row(
        "unicode/directory in the other form",
        r'file work/cafe%CC%81/a.txt "x\n"',
        do("read_text_file", path=f"{WORK}/caf\u00e9/a.txt"),
    ),
    row(
        "unicode/both forms exist",
        r'file work/cafe%CC%81.txt "d\n"' + "\n" + r'file work/caf%C3%A9.txt "c\n"',
        do("read_text_file", path=f"{WORK}/caf\u00e9.txt"),
    ),
)

ROOTS = (
    row(
        "roots/relative, in the second root only",
        r'file second/x.txt "second\n"',
        do("read_text_file", path="x.txt"),
        do("write_file", path="new.txt", content="n\n"),
        roots=TWO_ROOTS,
    ),
    row(
        "roots/relative, in both",
        'file work/x.txt "first"\nfile second/x.txt "second"',
        do("read_text_file", path="x.txt"),
        roots=TWO_ROOTS,
    ),
    row(
        "roots/relative dots from the first to the second",
        'file second/x.txt "second"',
        do("read_text_file", path="../second/x.txt"),
        roots=TWO_ROOTS,
    ),
    row(
        "roots/outside both",
        'file outside/s.txt "x"',
        do("read_text_file", path=f"{BASE}/outside/s.txt"),
        roots=TWO_ROOTS,
    ),
    row(
        "roots/a link from the first to the second",
        'file second/x.txt "second"\nlink work/l -> ../second/x.txt',
        do("read_text_file", path=f"{WORK}/l"),
        roots=TWO_ROOTS,
    ),
    row(
        "roots/a root that is a link, both spellings",
        r'file work/a.txt "x\n"',
        do("read_text_file", path=f"{BASE}/alias/a.txt"),
        do("read_text_file", path=f"{WORK}/a.txt"),
        do("read_text_file", path="a.txt"),
        do("write_file", path=f"{BASE}/alias/b.txt", content="y\n"),
        do("search_files", path=f"{BASE}/alias", pattern="*"),
        do("edit_file", path=f"{BASE}/alias/a.txt", edits=[{"oldText": "x", "newText": "y"}]),
        do("read_text_file", path=f"{BASE}/outside/s.txt"),
        do("read_text_file", path=f"{BASE}/alias/none.txt"),
        roots=LINKED_ROOT,
    ),
)

ARGUMENTS = (
    row("arguments/unknown tool", "", do("no_such_tool")),
    row("arguments/unknown tool with arguments", "", do("no_such_tool", path=WORK)),
    row(
        "arguments/path missing",
        "",
        *(
            do(tool)
            for tool in (
                "read_text_file",
                "read_media_file",
                "write_file",
                "create_directory",
                "list_directory",
                "directory_tree",
                "search_files",
                "get_file_info",
            )
        ),
    ),
    row("arguments/path is a number", "", do("read_text_file", path=1), do("list_directory", path=1)),
    row("arguments/path is null", "", do("read_text_file", path=None)),
    row("arguments/path is a list", "", do("read_text_file", path=[WORK])),
    row("arguments/content missing", "", do("write_file", path=f"{WORK}/a.txt")),
    row("arguments/content is a number", "", do("write_file", path=f"{WORK}/a.txt", content=1)),
    row("arguments/destination missing", r'file work/a.txt ""', do("move_file", source=f"{WORK}/a.txt")),
    row(
        "arguments/one that no tool knows",
        r'file work/a.txt "x\n"',
        do("read_text_file", path=f"{WORK}/a.txt", surprise=1),
    ),
    row(
        "arguments/one that no edit knows",
        r'file work/a.txt "x\n"',
        do("edit_file", path=f"{WORK}/a.txt", edits=[{"oldText": "x", "newText": "y", "surprise": 1}]),
    ),
)

CASES = (*_place_rows(), *UNICODE, *ROOTS, *ARGUMENTS)
