"""Rows: search by name. The globs are minimatch's, on the path relative to where the search begins."""

from __future__ import annotations

from tests.compat.case import WORK, Case, do, row

TREE = r"""
    file work/a.txt ""
    file work/b.txt ""
    file work/abc.txt ""
    file work/A.TXT ""
    file work/c.md ""
    file work/1.md ""
    file work/12.md ""
    file work/.env.example ""
    file work/#hash ""
    file work/!bang ""
    file work/star%2A.txt ""
    file work/sub/a.txt ""
    file work/sub/deep/a.txt ""
    file work/sub/deep/deeper/z.txt ""
    file work/sub/.dot/in.txt ""
    file work/.config/x.txt ""
    file work/node_modules/m/a.txt ""
    file work/sub/node_modules/n.txt ""
    dir work/sub/empty
    dir work/a
"""

_PATTERNS = r"""
    *.txt **/*.txt * ** **/* */* */a.txt sub/* sub/** sub/**/*.txt **/sub/** **/deep **/deep/ **/a.txt a.txt
    sub/a.txt ./a.txt /a.txt ../work/a.txt sub//a.txt sub/ a A* *.TXT **/*.TXT ?.txt ???.txt a?c* [ab].txt
    [a-c].* [!a].txt [^a].txt [[:alpha:]].txt [[:digit:]]* []a].txt [a [z-a].txt {a,b}.txt {a,b} *.{txt,md}
    **/*.{txt,md} {a,sub/a}.txt {1..12}.md {a,{b,abc}}.txt {a}.txt {}.txt {a,}bc.txt a{,bc}.txt +(a|b).txt
    @(a|b).txt !(a).txt ?(a)bc.txt *(a|b|c).txt !*.txt !a.txt !!a.txt #hash \#hash \!bang star\*.txt star[*].txt
    .* **/.* **/.*/** .config/* **/.dot **.txt a**c.txt **a.txt *** **/** **/**/a.txt */**/a.txt sub/**/a.txt
    sub/**/deep/** none **/none *.t*t a.t(x)t a+c $ ^a.txt$ (a).txt a.txt|b.txt
"""
PATTERNS = (*_PATTERNS.split(), "", " ")

_EXCLUDES = r"""
    node_modules **/node_modules **/node_modules/** node_modules/** *.txt **/*.txt sub sub/** sub/* .* **/.* **
    * !sub #hash {a,b}.txt sub/ deep
"""
EXCLUDES = (*((pattern,) for pattern in _EXCLUDES.split()), ("a.txt", "b.txt"), ("",))


def _search(
    name: str, pattern: str, exclude: tuple[str, ...] | None = None, path: str = WORK, tree: str = TREE
) -> Case:
    options = {} if exclude is None else {"excludePatterns": list(exclude)}
    return row(f"search/{name}", tree, do("search_files", path=path, pattern=pattern, **options))


CASES = (
    *(_search(f"pattern {pattern}", pattern) for pattern in PATTERNS),
    *(_search(f"without {' '.join(exclude)}", "**", exclude) for exclude in EXCLUDES),
    _search("no excludes", "**/*.md", ()),
    _search("below", "*.txt", path=f"{WORK}/sub"),
    _search("below, deeper", "deep/*", path=f"{WORK}/sub"),
    _search("below, without", "**", ("deep",), f"{WORK}/sub"),
    _search("relative", "*.txt", path="sub"),
    _search("the root, relative", "*.md", path="."),
    _search("from home", "*.md", path="~/work"),
    _search("slash at the end", "*.md", path=f"{WORK}/"),
    _search("nothing there", "**", path=f"{WORK}/sub/empty"),
    _search("a file", "**", path=f"{WORK}/a.txt"),
    _search("missing", "**", path=f"{WORK}/none"),
    _search("through a link", "*", path=f"{WORK}/l", tree='file work/sub/x ""\nlink work/l -> sub'),
    _search(
        "links", "**", tree='file work/a ""\ndir work/sub\nfile work/sub/x ""\nlink work/f -> a\nlink work/d -> sub'
    ),
    _search(
        "a link that leads outside",
        "**",
        tree='file work/a ""\nfile outside/s ""\nlink work/l -> ../outside/s\nlink work/m -> ../outside',
    ),
    _search("a link that leads nowhere", "**", tree='file work/a ""\nlink work/l -> none'),
    _search("beyond ASCII", "*.\u65e5", tree='file work/a.%E6%97%A5 ""\nfile work/b.x ""'),
    _search("one character beyond ASCII", "?", tree='file work/%C3%A9 ""\nfile work/%F0%9F%98%80 ""\nfile work/ab ""'),
    _search("a range beyond ASCII", "[\u00e0-\u00ff]", tree='file work/%C3%A9 ""\nfile work/e ""'),
    _search("case beyond ASCII", "\u00c9", tree='file work/%C3%A9 ""'),
    _search("a name with spaces", "a b*", tree='file work/a%20b%20c ""'),
    row("search/pattern is a number", "", do("search_files", path=WORK, pattern=1)),
    row("search/without a pattern", "", do("search_files", path=WORK)),
    row("search/excludes are a string", "", do("search_files", path=WORK, pattern="*", excludePatterns="x")),
)
