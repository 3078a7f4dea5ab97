"""A repository's own configuration names programs. What `preset:git` lets a client ask for runs none of them.

No sandbox here: git itself is asked, with the arguments and variables that the preset gives it.
"""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from fsserver.policy.arguments import judge
from fsserver.policy.compiled import Command, Effect, PinnedProgram
from tests.policy_files import desk_in

POLICY = "version: 1\nextends: [preset:git]\nroots: {app: {path: ~/app, mode: rw}}\n"

HOOKS = ("pre-commit", "commit-msg", "post-commit", "post-checkout", "prepare-commit-msg", "post-index-change")


class Repository:
    """A repository in which everything that git may start leaves a mark."""

    def __init__(self, directory: Path) -> None:
        desk = desk_in(directory)
        self.path = desk.home / "app"
        self.mark = directory / "mark"
        self.command: Command = desk.load(POLICY).commands["git"]
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "TMPDIR": str(directory)}
        self._git("init", "-q", "-b", "main")
        for key, value in (("user.name", "Ada"), ("user.email", "ada@example.com")):
            self._git("config", key, value)
        (self.path / "a.txt").write_text("one\n")
        self._git("add", ".")
        self._git("commit", "-q", "-m", "first")

    def _git(self, *arguments: str) -> None:
        subprocess.run(
            ["/usr/bin/git", *arguments],
            cwd=self.path,
            env=self._environment,
            check=True,
            timeout=30,
            capture_output=True,
        )

    def infect(self) -> None:
        program = self.path.parent / "evil"
        program.write_text(f'#!/bin/sh\necho "$0" >> {shlex.quote(str(self.mark))}\n')
        program.chmod(0o755)
        hooks = self.path / ".git/hooks"
        for name in HOOKS:
            (hooks / name).write_bytes(program.read_bytes())
            (hooks / name).chmod(0o755)
        for key in ("core.fsmonitor", "core.pager", "core.editor", "sequence.editor", "core.sshCommand", "gpg.program"):
            self._git("config", key, str(program))
        for key, value in (
            ("core.hooksPath", str(hooks)),
            ("commit.gpgSign", "true"),
            ("tag.gpgSign", "true"),
            ("pager.log", str(program)),
            ("alias.evil", f"!{program}"),
            ("alias.status", f"!{program}"),
            ("remote.origin.url", f"ext::{program}"),
            ("remote.origin.receivepack", str(program)),
        ):
            self._git("config", key, value)
        self.mark.unlink(missing_ok=True)  # setting these has started some

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        arguments = shlex.split(line)
        judgement = judge(self.command, arguments, directory=("app", ""), spellings={})
        assert judgement.effect is not Effect.DENY, judgement.reason
        program = self.command.program
        assert isinstance(program, PinnedProgram)
        return subprocess.run(
            [program.path, *self.command.prepend, *arguments],
            cwd=self.path,
            env=self._environment | dict(self.command.environment),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


LINES = [
    "status",
    "status --short --branch",
    "log -n5 --oneline --graph --stat",
    "log -p --follow a.txt",
    "diff",
    "diff --cached HEAD -- a.txt",
    "show HEAD:a.txt",
    "show --stat HEAD",
    "blame -L 1,1 a.txt",
    "rev-parse --abbrev-ref HEAD",
    "ls-files -m -o --exclude-standard",
    "add -A",
    "add -n a.txt",
    "commit -a -m 'A title; $(id)'",
    "commit --amend --no-edit --allow-empty",
    "branch --list",
    "branch topic",
    "switch -c feature/x",
    "restore a.txt",
    "stash push",
    "tag v1",
    "merge --ff-only main",
]


@pytest.mark.parametrize("line", LINES)
def test_git_works_and_starts_nothing_that_the_repository_names(repository: Repository, line: str) -> None:
    (repository.path / "a.txt").write_text("two\n")
    repository.infect()
    done = repository.run(line)
    assert not repository.mark.exists(), repository.mark.read_text()
    assert done.returncode == 0, done.stderr


def test_a_push_to_a_remote_that_is_a_program_is_not_followed(repository: Repository) -> None:
    repository.infect()
    done = repository.run("push origin main")
    assert done.returncode != 0
    assert not repository.mark.exists()


def test_the_repository_of_these_tests_is_hostile(repository: Repository) -> None:
    """Without what the preset puts before, the same programs are started."""
    (repository.path / "a.txt").write_text("two\n")
    repository.infect()
    subprocess.run(
        ["/usr/bin/git", "commit", "-a", "-m", "x"],
        cwd=repository.path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(repository.path.parent)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert repository.mark.exists()
