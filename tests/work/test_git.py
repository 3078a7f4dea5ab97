"""git through `preset:git`: a day's work on a real repository, one with a protected file, and a hostile one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.client import text_of
from tests.work.desk import Desk

POLICY = "extends: [preset:secrets, preset:git]\n"

ADA = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")


@pytest.fixture
def repository(desk: Desk) -> Desk:
    """With one commit of one file."""
    desk.run("git", "init", "-q", "-b", "main")
    desk.write("a.txt", "one\n")
    desk.run("git", "add", ".")
    desk.run("git", *ADA, "commit", "-q", "-m", "first")
    return desk


def test_a_change_is_seen_staged_and_committed_in_the_users_name(repository: Desk) -> None:
    (repository.home / ".gitconfig").write_text('[user]\n\tname = Ada Lovelace\n\temail = "ada@example.com"\n')
    with repository.serve(POLICY) as work:
        work.call("write_file", path="a.txt", content="one\ntwo\n")
        work.call("write_file", path="b.txt", content="new\n")
        assert work.works("git", "status", "--short") == " M a.txt\n?? b.txt\n"
        assert "\n+two\n" in work.works("git", "diff", "--no-ext-diff")
        work.works("git", "add", "-A")
        work.works("git", "commit", "-m", "A title\n\nand a body; $(id)")
        assert work.works("git", "status", "--short") == ""
        log = work.works("git", "log", "-n", "1", "--stat")
        assert "Author: Ada Lovelace <ada@example.com>" in log
        assert "    and a body; $(id)" in log
        assert "2 files changed, 2 insertions(+)" in log
        assert work.works("git", "show", "HEAD:b.txt") == "new\n"
        assert work.works("git", "blame", "-L", "2,2", "a.txt").startswith(work.works("git", "rev-parse", "HEAD")[:7])
    assert repository.run("git", "fsck", "--strict") == ""
    assert repository.run("git", "log", "--format=%an") == "Ada Lovelace\nAda\n"


def test_branches_stash_and_merge(repository: Desk) -> None:
    with repository.serve(POLICY) as work:
        work.works("git", "switch", "-c", "topic")
        work.call("write_file", path="a.txt", content="three\n")
        work.works("git", "stash")
        assert (repository.root / "a.txt").read_text() == "one\n"
        work.works("git", "stash", "pop")
        work.works("git", "commit", "-a", "-m", "topic")
        work.works("git", "switch", "main")
        work.works("git", "merge", "--ff-only", "topic")
        work.works("git", "branch", "-d", "topic")
        work.works("git", "tag", "v1")
    assert (repository.root / "a.txt").read_text() == "three\n"


def test_without_an_identity_of_the_users_commits_work_all_the_same(repository: Desk) -> None:
    with repository.serve(POLICY) as work:
        work.works("git", "commit", "--allow-empty", "-m", "second")
        assert "Author: user <user@localhost>" in work.works("git", "log", "-n", "1")


def test_a_tracked_file_that_is_denied_is_named_where_git_fails_over_it(repository: Desk) -> None:
    repository.write(".npmrc", "//registry.example.com/:_authToken=SECRET\n")
    repository.run("git", "add", ".npmrc")
    repository.run("git", *ADA, "commit", "-q", "-m", "second")
    with repository.serve(POLICY) as work:
        assert " M .npmrc" in work.works("git", "status", "--short")
        staged = work.run("git", "add", "-A")
        assert staged["exitCode"] == 128, staged
        assert 'open(".npmrc"): Permission denied' in staged["stderr"]
        assert staged["protected"] == ["workspace/.npmrc"]
        result = work.client.call("run_command", {"command": "git", "args": ["add", "-A"]})
        assert "\nprotected names that it could not see: workspace/.npmrc\n" in text_of(result)
        assert work.error("run_command", command="git", args=["add", ".npmrc"])["rule"].startswith("preset:secrets:")
        work.call("write_file", path="a.txt", content="two\n")
        work.works("git", "commit", "-m", "third", "a.txt")
    assert repository.run("git", "show", "HEAD:.npmrc").endswith("_authToken=SECRET\n")


def test_what_git_executes_can_be_changed_by_no_command(repository: Desk) -> None:
    with repository.serve(POLICY) as work:
        hook = work.error("write_file", path=".git/hooks/pre-commit", content="#!/bin/sh\n")
        assert hook["code"].startswith("denied.")
        assert work.error("run_command", command="git", args=["config", "core.pager", "id"])["code"] == "denied.command"
        rebased = work.error("run_command", command="git", args=["rebase", "--exec", "id", "HEAD"])
        assert "status" in rebased["allowedInstead"]


@pytest.fixture
def hostile(repository: Desk, tmp_path: Path) -> Desk:
    """The repository, with programs wherever git may start one. Each leaves a mark in the root and one outside."""
    program = repository.write(
        ".evil",
        f'#!/bin/sh\necho x >> {repository.root}/mark\necho x >> {tmp_path}/outside\ncat {tmp_path}/secret "$@"\n',
        mode=0o755,
    )
    (tmp_path / "secret").write_text("SECRET\n")
    for hook in ("pre-commit", "commit-msg", "post-commit", "post-checkout", "post-index-change"):
        repository.write(f".git/hooks/{hook}", program.read_text(), mode=0o755)
    for key in ("core.fsmonitor", "core.pager", "core.editor", "diff.evil.textconv", "filter.evil.clean"):
        repository.run("git", "config", key, str(program))
    repository.write(".gitattributes", "*.bin diff=evil\n*.dat filter=evil\n")
    repository.write("x.bin", "one\n")
    (repository.root / "mark").unlink(missing_ok=True)
    (tmp_path / "outside").unlink(missing_ok=True)
    return repository


def test_hooks_and_fsmonitor_of_a_hostile_repository_are_not_run(hostile: Desk, tmp_path: Path) -> None:
    with hostile.serve(POLICY) as work:
        for line in (
            "status",
            "add a.txt",
            "commit --allow-empty -m x",
            "log",
            "switch -c topic",
            "diff --no-textconv",
        ):
            work.works("git", *line.split())
    assert not (hostile.root / "mark").exists()
    assert not (tmp_path / "outside").exists()


def test_a_filter_of_a_hostile_repository_reaches_nothing_outside(hostile: Desk, tmp_path: Path) -> None:
    hostile.write("y.dat", "one\n")
    with hostile.serve(POLICY) as work:
        work.run("git", "add", "x.bin", "y.dat")
        shown = work.run("git", "diff", "--cached")
    assert (hostile.root / "mark").exists(), "it ran, in the sandbox"
    assert not (tmp_path / "outside").exists()
    assert "SECRET" not in shown["stdout"] + shown["stderr"]
    assert "SECRET" not in hostile.run("git", "show", ":y.dat")
