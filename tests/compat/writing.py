"""Rows: writing files, making directories, moving."""

from __future__ import annotations

from tests.compat.case import BASE, TWO_ROOTS, WORK, Case, do, row


def _write(name: str, tree: str, content: str = "new\n", path: str = f"{WORK}/a.txt") -> Case:
    return row(f"write/{name}", tree, do("write_file", path=path, content=content))


WRITE = (
    _write("new file", ""),
    _write("over a file", r'file work/a.txt "old and longer\n"'),
    _write("nothing", "", ""),
    _write("nothing over a file", r'file work/a.txt "old\n"', ""),
    _write("no final newline", "", "x"),
    _write("carriage returns", "", "a\r\nb\r\n"),
    _write("beyond ASCII", "", "na\u00efve \u65e5\u672c\u8a9e \U0001f600\n"),
    _write("a byte order mark", "", "\ufeffx\n"),
    _write("a NUL", "", "a\0b"),
    _write("the same again", r'file work/a.txt "new\n"'),
    _write("the mode stays", 'file work/a.txt "old"\nmode 600 work/a.txt'),
    _write("an executable stays one", 'file work/a.txt "old"\nmode 755 work/a.txt'),
    _write("relative", "", path="a.txt"),
    _write("relative below", "dir work/sub", path="sub/a.txt"),
    _write("path as given", "dir work/sub", path=f"{WORK}//sub/../sub/./a.txt"),
    _write("from home", "", path="~/work/a.txt"),
    _write("parent missing", "", path=f"{WORK}/none/a.txt"),
    _write("two parents missing", "", path=f"{WORK}/none/none/a.txt"),
    _write("parent is a file", 'file work/f ""', path=f"{WORK}/f/a.txt"),
    _write("over a directory", "dir work/sub", path=f"{WORK}/sub"),
    _write("over a full directory", 'file work/sub/x ""', path=f"{WORK}/sub"),
    _write("over the root", "", path=WORK),
    _write("through a link", r'file work/b.txt "old\n"' + "\nlink work/a.txt -> b.txt"),
    _write("through an absolute link", r'file work/b.txt "old\n"' + f"\nlink work/a.txt -> {WORK}/b.txt"),
    _write("through a link to a directory", "dir work/sub\nlink work/l -> sub", path=f"{WORK}/l/a.txt"),
    _write("hidden", "", path=f"{WORK}/.hidden"),
    _write("name with a slash at its end", "", path=f"{WORK}/a.txt/"),
    row(
        "write/then read",
        "",
        do("write_file", path="a.txt", content="1\n"),
        do("read_text_file", path="a.txt"),
        do("write_file", path="a.txt", content="2\n"),
        do("read_text_file", path="a.txt"),
    ),
    row("write/large", "", do("write_file", path=f"{WORK}/a.txt", content="0123456789abcde\n" * 20_000)),
)


def _make(name: str, tree: str, *paths: str) -> Case:
    return row(f"make/{name}", tree, *(do("create_directory", path=path) for path in paths))


MAKE = (
    _make("new", "", f"{WORK}/sub"),
    _make("with parents", "", f"{WORK}/a/b/c"),
    _make("existing", 'file work/sub/x "x"', f"{WORK}/sub"),
    _make("twice", "", f"{WORK}/sub", f"{WORK}/sub"),
    _make("root", "", WORK),
    _make("relative", "", "sub", "a/b"),
    _make("from home", "", "~/work/sub"),
    _make("path as given", "", f"{WORK}//a/../b/"),
    _make("over a file", 'file work/a "x"', f"{WORK}/a"),
    _make("beneath a file", 'file work/a "x"', f"{WORK}/a/b", f"{WORK}/a/b/c"),
    _make("through a link", "dir work/sub\nlink work/l -> sub", f"{WORK}/l/new"),
    _make("over a link to a directory", "dir work/sub\nlink work/l -> sub", f"{WORK}/l"),
    _make("beyond ASCII", "", f"{WORK}/\u65e5\u672c"),
    _make("then list", "", "sub", "sub/x"),
)


def _move(name: str, tree: str, source: str, destination: str, roots: tuple[str, ...] = ("work",)) -> Case:
    return row(f"move/{name}", tree, do("move_file", source=source, destination=destination), roots=roots)


A = r'file work/a.txt "a\n"'

MOVE = (
    _move("rename", A, f"{WORK}/a.txt", f"{WORK}/b.txt"),
    _move("into a directory", A + "\ndir work/sub", f"{WORK}/a.txt", f"{WORK}/sub/a.txt"),
    _move("a directory", 'file work/sub/x "x"', f"{WORK}/sub", f"{WORK}/new"),
    _move("a directory deeper", 'file work/sub/x "x"\ndir work/to', f"{WORK}/sub", f"{WORK}/to/sub"),
    _move("relative", A, "a.txt", "b.txt"),
    _move("from home", A, "~/work/a.txt", "~/work/b.txt"),
    _move("over a file", A + '\nfile work/b.txt "b"', f"{WORK}/a.txt", f"{WORK}/b.txt"),
    _move("over a directory", A + "\ndir work/sub", f"{WORK}/a.txt", f"{WORK}/sub"),
    _move("over itself", A, f"{WORK}/a.txt", f"{WORK}/a.txt"),
    _move("over a link", A + '\nfile work/b.txt "b"\nlink work/l -> b.txt', f"{WORK}/a.txt", f"{WORK}/l"),
    _move("relative over a file", A + '\nfile work/b.txt "b"', "a.txt", "b.txt"),
    _move("missing source", "", f"{WORK}/a.txt", f"{WORK}/b.txt"),
    _move("missing source over a file", 'file work/b.txt "b"', f"{WORK}/a.txt", f"{WORK}/b.txt"),
    _move("missing source in a missing directory", "", f"{WORK}/x/a.txt", f"{WORK}/b.txt"),
    _move("parent of the destination missing", A, f"{WORK}/a.txt", f"{WORK}/none/b.txt"),
    _move("parent of the destination is a file", A + '\nfile work/f ""', f"{WORK}/a.txt", f"{WORK}/f/b.txt"),
    _move("into itself", "dir work/sub", f"{WORK}/sub", f"{WORK}/sub/x"),
    _move("the mode stays", A + "\nmode 750 work/a.txt", f"{WORK}/a.txt", f"{WORK}/b.txt"),
    _move("case only", A, f"{WORK}/a.txt", f"{WORK}/A.txt"),
    _move("slash at the end of the destination", A, f"{WORK}/a.txt", f"{WORK}/b.txt/"),
    _move("a link", A + "\nlink work/l -> a.txt", f"{WORK}/l", f"{WORK}/m"),
    _move("a link that leads outside", "link work/l -> ../outside", f"{WORK}/l", f"{WORK}/m"),
    _move("a link that leads nowhere", "link work/l -> none", f"{WORK}/l", f"{WORK}/m"),
    _move("below a link to a directory", 'file work/sub/a "x"\nlink work/l -> sub', f"{WORK}/l/a", f"{WORK}/l/b"),
    _move("outside to inside", 'file outside/a "x"', f"{BASE}/outside/a", f"{WORK}/a"),
    _move("inside to outside", A, f"{WORK}/a.txt", f"{BASE}/outside/a"),
    _move("inside to outside with dots", A, f"{WORK}/a.txt", f"{WORK}/../outside/a"),
    _move("the root", "", WORK, f"{WORK}/x"),
    _move("between roots", A, f"{WORK}/a.txt", f"{BASE}/second/b.txt", TWO_ROOTS),
    _move("a directory between roots", 'file work/sub/x "x"', f"{WORK}/sub", f"{BASE}/second/sub", TWO_ROOTS),
)

CASES = (*WRITE, *MAKE, *MOVE)
