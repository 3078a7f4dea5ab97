"""Rows: directory listings, trees, information about one file."""

from __future__ import annotations

from typing import Any

from tests.compat.case import BASE, LINKED_ROOT, TWO_ROOTS, WORK, Case, do, row

MIXED = r"""
    file work/b.txt "b\n"
    file work/a.txt "a\n"
    dir work/sub
    file work/.hidden "x"
    dir work/.dir
    file work/A.txt ""
"""
LINKS = r"""
    file work/a.txt "12345"
    dir work/sub
    link work/to-file -> a.txt
    link work/to-dir -> sub
    link work/to-nothing -> none
    link work/to-outside -> ../outside/s.txt
    file outside/s.txt "a secret of a certain size\n"
"""
# Names whose order depends on who sorts them.
TRICKY = (
    "a",
    "B",
    "c",
    "A",
    "b",
    "_u",
    "-d",
    ".h",
    "1",
    "10",
    "2",
    "%C3%A9",
    "e",
    "f",
    "~t",
    "a%20b",
    "ab",
    "a-b",
    "a_b",
    "a.b",
    "%24x",
    "%E6%97%A5",
    "%C3%84",
    "z",
    "Z",
    "%40at",
    "%2Bp",
)
TRICKY_TREE = "\n".join(f'file work/{name} "x"' for name in TRICKY)


def _list(name: str, tree: str, path: str = WORK, **options: Any) -> Case:
    return row(f"list/{name}", tree, do("list_directory", path=path, **options))


LIST = (
    _list("mixed", MIXED),
    _list("empty", "dir work/sub", f"{WORK}/sub"),
    _list("tricky names", TRICKY_TREE),
    _list("links", LINKS.replace("    link work/to-outside -> ../outside/s.txt\n", "")),
    _list("a link that leads outside", LINKS),
    _list("name with a newline", 'file work/a%0Ab ""'),
    _list("name that is not UTF-8", 'file work/a%E9b ""'),
    _list("a file", 'file work/a.txt ""', f"{WORK}/a.txt"),
    _list("missing", "", f"{WORK}/none"),
    _list("parent missing", "", f"{WORK}/none/none"),
    _list("beneath a file", 'file work/a.txt ""', f"{WORK}/a.txt/x"),
    _list("relative", MIXED, "."),
    _list("relative below", 'file work/sub/x ""', "sub"),
    _list("from home", MIXED, "~/work"),
    _list("slash at the end", MIXED, f"{WORK}/"),
    _list("through a link", 'file work/sub/x ""\nlink work/l -> sub', f"{WORK}/l"),
    _list("300 entries", "\n".join(f'file work/f{number} ""' for number in range(300))),
)

SIZED_FILES = r"""
    repeat work/b 1 "x"
    repeat work/a 1023 "x"
    repeat work/d 1024 "x"
    repeat work/c 1270 "x"
    repeat work/f 1536 "x"
    repeat work/e 10240 "x"
    sparse work/m 1048575
    sparse work/n 1048576
    sparse work/o 1572864
    sparse work/p 1073741824
    sparse work/q 5368709120
"""
SIZES_TREE = rf"""
    {SIZED_FILES}
    file work/empty ""
    dir work/sub
    dir work/other
"""
LONG_TREE = r"""
    file work/exactly-thirty-characters-long "12"
    file work/more-than-thirty-characters-in-a-name.txt "12"
    file work/%E6%97%A5%E6%9C%AC%E8%AA%9E "12"
    file work/%F0%9F%98%80%F0%9F%98%80 "12"
    file work/e%CC%81 "12"
    dir work/more-than-thirty-characters-in-a-directory
"""


def _sizes(name: str, tree: str, path: str = WORK, **options: Any) -> Case:
    return row(f"sizes/{name}", tree, do("list_directory_with_sizes", path=path, **options))


SIZES = (
    _sizes("mixed", MIXED),
    _sizes("sizes, by name", SIZES_TREE),
    _sizes("sizes, by name as asked for", SIZES_TREE, sortBy="name"),
    _sizes("sizes, by size", SIZED_FILES, sortBy="size"),
    # What size a directory has is up to the file system, but none of an empty one is as large as these files.
    _sizes("a directory, by size", "sparse work/n 1048576\ndir work/sub\nsparse work/o 1572864", sortBy="size"),
    _sizes("equal sizes", 'file work/b "x"\nfile work/a "y"\nfile work/C "z"\nfile work/l "long"', sortBy="size"),
    _sizes("empty", "dir work/sub", f"{WORK}/sub"),
    _sizes("only directories", "dir work/a\ndir work/b"),
    _sizes("tricky names, by name", TRICKY_TREE),
    _sizes("tricky names, by size", TRICKY_TREE, sortBy="size"),
    _sizes(
        "names in mixed case",
        "\n".join(
            f'file work/{name} ""'
            for name in (
                "README.md",
                "readme.txt",
                "Makefile",
                "main.py",
                "LICENSE",
                "lib",
                "Lib",
                "LIB",
                "src2",
                "src10",
                "src1",
            )
        ),
    ),
    _sizes(
        "names with punctuation",
        "\n".join(
            f'file work/{name} ""'
            for name in (
                "test.py",
                "test_a.py",
                "test-a.py",
                "testa.py",
                "test",
                "tests",
                "__init__.py",
                "_a",
                "a__b",
                "a-_b",
                "package.json",
                "package-lock.json",
                ".gitignore",
                ".github",
                "a%20z",
                "az",
                "(x)",
                "%5Bx%5D",
                "%23x",
                "%26x",
                "!x",
                "x!",
                "x%27",
            )
        ),
    ),
    _sizes(
        "names beyond ASCII",
        "\n".join(
            f'file work/{name} ""'
            for name in (
                "%C3%A9t%C3%A9",
                "ete",
                "eta",
                "etz",
                "%C3%89t%C3%A9",
                "%C3%B6l",
                "ol",
                "oz",
                "%C3%9F",
                "ss",
                "st",
                "%C3%B1",
                "n",
                "o",
                "%CE%B1",
                "%D0%B0",
                "%E6%97%A5",
            )
        ),
    ),
    _sizes("names wide or long", LONG_TREE),
    _sizes("a link that leads nowhere", 'file work/a "x"\nlink work/l -> none'),
    _sizes("a link to a file", 'file work/a "12345"\nlink work/l -> a'),
    _sizes("a link that leads outside", 'file work/a "x"\nfile outside/s "a secret"\nlink work/l -> ../outside/s'),
    _sizes("other order", "", sortBy="date"),
    _sizes("a file", 'file work/a.txt ""', f"{WORK}/a.txt"),
    _sizes("missing", "", f"{WORK}/none"),
    _sizes("relative", 'file work/sub/x "x"', "sub"),
)

TREE_TREE = r"""
    file work/a.txt ""
    file work/b.log ""
    dir work/empty
    file work/src/main.py ""
    file work/src/deep/x.log ""
    file work/src/deep/y.txt ""
    file work/node_modules/m/index.js ""
    file work/src/node_modules/k.js ""
    file work/.git/config ""
    file work/.hidden ""
    file work/#notes ""
    file work/!bang ""
"""


def _tree(name: str, exclude: list[str] | None = None, path: str = WORK, tree: str = TREE_TREE) -> Case:
    options = {} if exclude is None else {"excludePatterns": exclude}
    return row(f"tree/{name}", tree, do("directory_tree", path=path, **options))


TREE = (
    _tree("whole"),
    _tree("nothing excluded", []),
    _tree("exclude a directory's name", ["node_modules"]),
    _tree("exclude a file's name", ["a.txt"]),
    _tree("exclude a name with a path", ["src/deep"]),
    _tree("exclude a star", ["*"]),
    _tree("exclude two stars", ["**"]),
    _tree("exclude by extension", ["*.log"]),
    _tree("exclude by extension everywhere", ["**/*.log"]),
    _tree("exclude everything below", ["src/**"]),
    _tree("exclude children", ["src/*"]),
    _tree("exclude everywhere", ["**/node_modules"]),
    _tree("exclude hidden", [".*"]),
    _tree("exclude a hidden directory", [".git"]),
    _tree("exclude with braces", ["{a.txt,b.log}"]),
    _tree("exclude with a question mark", ["?.txt"]),
    _tree("exclude with brackets", ["[ab].*"]),
    _tree("exclude with a negation", ["!src"]),
    _tree("exclude with a negation and a star", ["!*.txt"]),
    _tree("exclude with a hash", ["#notes"]),
    _tree("exclude with an extended glob", ["+(a|b).*"]),
    _tree("exclude several", ["node_modules", "*.log", ".git"]),
    _tree("exclude an empty pattern", [""]),
    _tree("exclude with a slash at the end", ["src/"]),
    _tree("exclude an absolute path", [f"{WORK}/src"]),
    _tree("exclude is a string", tree="", path=WORK, exclude="x"),  # type: ignore[arg-type]
    _tree("below", path=f"{WORK}/src"),
    _tree("below, excluded there", ["deep"], f"{WORK}/src"),
    _tree("empty", path=f"{WORK}/empty"),
    _tree("relative", path="src"),
    _tree("relative, excluded there", ["deep"], "src"),
    _tree("the root, relative", path="."),
    _tree("from home", ["node_modules"], "~/work"),
    _tree("slash at the end", ["deep"], f"{WORK}/src/"),
    _tree("through a link", ["x"], f"{WORK}/l", 'file work/sub/x ""\nfile work/sub/y ""\nlink work/l -> sub'),
    _tree("links", tree=LINKS),
    _tree("a file", path=f"{WORK}/a.txt"),
    _tree("missing", path=f"{WORK}/none"),
    _tree("names that JSON must escape", tree='file work/%22q%22%5C%09 ""\nfile work/%C3%A9%E6%97%A5 ""\ndir work/%0A'),
    _tree("deep", path=WORK, tree="dir work/" + "/".join("d" * 40)),
)


def _info(name: str, tree: str, path: str = f"{WORK}/a.txt") -> Case:
    return row(f"info/{name}", tree, do("get_file_info", path=path))


TIME = "time work/a.txt 2020-01-02T03:04:05.678"

INFO = (
    _info("file", f'file work/a.txt "12345"\n{TIME}'),
    _info("empty file", f'file work/a.txt ""\n{TIME}'),
    _info("before 1970", 'file work/a.txt ""\ntime work/a.txt 1965-05-06T07:08:09'),
    _info("in summer", 'file work/a.txt ""\ntime work/a.txt 2024-07-31T23:59:59.999'),
    _info("mode 600", f'file work/a.txt ""\nmode 600 work/a.txt\n{TIME}'),
    _info("mode 755", f'file work/a.txt ""\nmode 755 work/a.txt\n{TIME}'),
    _info("sticky bit", f"dir work/a.txt\nmode 1777 work/a.txt\n{TIME}"),
    _info("setgid bit", f"dir work/a.txt\nmode 2755 work/a.txt\n{TIME}"),
    _info("large file", f"sparse work/a.txt 5368709120\n{TIME}"),
    _info("directory", f"dir work/a.txt\n{TIME}"),
    _info("through a link", f'file work/a.txt "12345"\n{TIME}\nlink work/l -> a.txt', f"{WORK}/l"),
    _info("relative", f'file work/a.txt "1"\n{TIME}', "a.txt"),
    _info("missing", ""),
    _info("beneath a file", 'file work/a.txt ""', f"{WORK}/a.txt/x"),
)

ALLOWED = (
    row("allowed/one root", "", do("list_allowed_directories")),
    row("allowed/two roots", "", do("list_allowed_directories"), roots=TWO_ROOTS),
    row("allowed/a root that is a link", "", do("list_allowed_directories"), roots=LINKED_ROOT),
    row("allowed/arguments that nobody asked for", "", do("list_allowed_directories", path=BASE)),
)

CASES = (*LIST, *SIZES, *TREE, *INFO, *ALLOWED)
