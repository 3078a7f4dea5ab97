"""What the outcome record says that a command changed, where the policy wants to know: real programs, real roots."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from fsserver.paths import changes
from fsserver.policy.compiled import Effect, Mode
from fsserver.tools.commands import changes as comparing
from fsserver.tools.control import Control
from tests.commands import Commanded, commanded, script
from tests.support import in_child, wait_until
from tests.trees import build, rules

SHELL = script("shell", 'eval "$1"')
TREE = ["file a.txt one", "file d/b.txt two", "file d/e/c.txt three", "link l -> a.txt", "file .env SECRET"]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Commanded]:
    with ExitStack() as stack:
        yield watched(stack, tmp_path, TREE)


def watched(stack: ExitStack, base: Path, tree: Sequence[str], **more: Any) -> Commanded:
    (base / "work").mkdir()
    build(base / "work", tree)
    made = max(path.lstat().st_ctime_ns for path in (base / "work").rglob("*"))
    wait_until(lambda: _now(base) > made, "a change from now on has another time")
    root = rules(base / "work", deny=["**/.env"], **more)
    return stack.enter_context(commanded(base, [SHELL], [root], changes=True))


def _now(base: Path) -> int:
    """What the file system's clock says, in nanoseconds; it goes in ticks."""
    (base / "tick").touch()
    return (base / "tick").stat().st_ctime_ns


def outcome(gate: Commanded) -> dict[str, Any]:
    last = gate.records()[-1]
    assert last["event"] == "call.outcome"
    return last


def sized(text: str) -> dict[str, Any]:
    return {"bytes": len(text), "cut": True}


def whole(text: str) -> dict[str, Any]:
    return {"bytes": len(text), "sha256": sha256(text.encode()).hexdigest()}


def one(name: str, change: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    return {"root": "work", "name": name, "change": change, "before": before, "after": after, **more}


DONE: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "nothing": ("cat a.txt", []),
    "created": ("printf new > n", [one("n", "created", None, whole("new"))]),
    "changed": ("printf more >> a.txt", [one("a.txt", "changed", sized("one"), whole("onemore"))]),
    "changed and as large, its time set back": (
        "touch -r a.txt t; printf two > a.txt; touch -r t a.txt; rm t",
        [one("a.txt", "changed", sized("one"), whole("two"))],
    ),
    "replaced": ("printf x > t; mv t a.txt", [one("a.txt", "changed", sized("one"), whole("x"))]),
    "its mode changed": ("chmod 600 a.txt", [one("a.txt", "changed", sized("one"), whole("one"))]),
    "deleted": ("rm a.txt", [one("a.txt", "deleted", sized("one"), None)]),
    "renamed": ("mv a.txt d/n", [one("d/n", "moved", sized("one"), whole("one"), **{"from": "a.txt"})]),
    "renamed and changed": (
        "mv a.txt n; printf + >> n",
        [one("n", "created", None, whole("one+")), one("a.txt", "deleted", sized("one"), None)],
    ),
    "deleted and another made": (
        "rm a.txt; printf oen > n",  # its inode is often used again
        [one("n", "created", None, whole("oen")), one("a.txt", "deleted", sized("one"), None)],
    ),
    "a second name": (
        "ln a.txt n",
        [one("a.txt", "changed", sized("one"), whole("one")), one("n", "created", None, whole("one"))],
    ),
    "a directory": ("mkdir n", [one("n", "created", None, None, kind="directory")]),
    "a directory renamed": ("mv d n", [one("n", "moved", None, None, kind="directory", **{"from": "d"})]),
    "a directory renamed with a change in it": (
        "mv d n; printf + >> n/b.txt",
        [
            one("n", "moved", None, None, kind="directory", **{"from": "d"}),
            one("n/b.txt", "created", None, whole("two+")),
            one("d/b.txt", "deleted", sized("two"), None),
        ],
    ),
    "a tree deleted": (
        "rm -r d",
        [
            one("d", "deleted", None, None, kind="directory"),
            one("d/b.txt", "deleted", sized("two"), None),
            one("d/e", "deleted", None, None, kind="directory"),
            one("d/e/c.txt", "deleted", sized("three"), None),
        ],
    ),
    "a link made": ("ln -s /etc n", [one("n", "created", None, None, kind="link")]),
    "a link turned": ("ln -sfn d l", [one("l", "changed", None, None, kind="link")]),
    "a fifo": ("mkfifo n", [one("n", "created", None, None, kind="other")]),
    "a file in a directory's place": (
        "rm -r d/e; printf x > d/e",
        [
            one("d/e", "deleted", None, None, kind="directory"),
            one("d/e", "created", None, whole("x")),
            one("d/e/c.txt", "deleted", sized("three"), None),
        ],
    ),
    "an odd name": ("printf x > '\\x41\n'", [one("\\x41\n", "created", None, whole("x"))]),
    "a denied name": ("printf x > .env; printf x > d/.env", []),
    "a command that failed": ("printf new > n; exit 3", [one("n", "created", None, whole("new"))]),
}


@pytest.mark.parametrize(("text", "expected"), DONE.values(), ids=DONE.keys())
def test_the_outcome_says_what_the_command_changed(gate: Commanded, text: str, expected: list[dict[str, Any]]) -> None:
    gate.run("shell", text)
    last = outcome(gate)
    assert last["changes"] == expected
    assert "changes_cut" not in last
    assert "SECRET" not in Path(gate.log.path).read_text()


def test_it_is_not_looked_at_where_the_policy_does_not_say_so(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with commanded(tmp_path, [SHELL], [rules(tmp_path / "work")]) as gate:
        gate.run("shell", "printf x > n")
        assert not {"changes", "changes_cut"} & outcome(gate).keys()


def test_each_stage_of_a_pipeline_is_looked_at(gate: Commanded) -> None:
    stages = [{"command": "shell", "args": [text]} for text in ("printf x; touch n", "cat > m")]
    gate.structured("run_pipeline", stages=stages)
    assert {each["name"] for each in outcome(gate)["changes"]} == {"m", "n"}


def test_only_roots_that_the_command_may_write_are_looked_at(tmp_path: Path) -> None:
    for name in ("work", "notes"):
        (tmp_path / name).mkdir()
    roots = {"work": Mode.RW, "notes": Mode.RO}
    reading = script("reading", f"touch n {tmp_path}/notes/n", roots=roots)
    with commanded(
        tmp_path, [reading], [rules(tmp_path / "work"), rules(tmp_path / "notes", name="notes")], changes=True
    ) as gate:
        gate.run("reading", cwd="work")
        assert [(each["root"], each["name"]) for each in outcome(gate)["changes"]] == [("work", "n")]


def test_a_command_that_is_cancelled_is_told_of(gate: Commanded) -> None:
    control = Control()
    done = threading.Thread(
        target=gate.call, args=("run_command", control), kwargs={"command": "shell", "args": ["touch n; sleep 60"]}
    )
    done.start()
    wait_until((gate.top / "n").exists, "the command made its file")
    control.cancelled.set()
    done.join(20)
    last = outcome(gate)
    assert last["ended_by"] == "cancelled"
    assert [each["name"] for each in last["changes"]] == ["n"]


def test_a_command_that_cannot_be_started_changed_nothing(tmp_path: Path) -> None:
    missing = script("missing", "")
    with ExitStack() as stack:
        gate = watched(stack, tmp_path, TREE)
        gate.runner._path = lambda program: "/nowhere/program"  # type: ignore[method-assign]
        assert gate.error("run_command", command="shell", args=[missing.name])["code"] == "resource.program"
        last = outcome(gate)
    assert (last["ok"], last["changes"]) == (False, [])


# --- bounds


def test_a_root_with_too_many_names_is_said_and_nothing_is_listed(
    gate: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MAX_ENTRIES", 7)  # as many as there are
    gate.run("shell", "rm a.txt")
    assert len(outcome(gate)["changes"]) == 1
    gate.run("shell", "touch n m")
    assert outcome(gate)["changes"] == []
    assert outcome(gate)["changes_cut"] == "the root work holds more than 7 names: not looked at"
    gate.run("shell", "rm n m")
    assert outcome(gate)["changes"] == []
    assert "not looked at" in outcome(gate)["changes_cut"]


def test_of_many_changes_the_first_are_listed_and_the_rest_is_counted(gate: Commanded) -> None:
    gate.run("shell", f"for i in $(seq {changes.MAX_LISTED + 3}); do echo > n$i; done")
    last = outcome(gate)
    assert len(last["changes"]) == changes.MAX_LISTED
    assert last["changes_cut"] == 3


def test_files_are_read_within_bounds(gate: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_FILE", 4)
    monkeypatch.setattr(changes, "MAX_READ", 6)
    gate.run("shell", "printf 12345 > n1; printf 1234 > n2; printf 123 > n3; printf 12 > n4")
    afters = [each["after"] for each in outcome(gate)["changes"]]
    assert afters == [sized("12345"), whole("1234"), sized("123"), whole("12")]


def test_a_file_that_may_not_be_read_has_its_size_only(tmp_path: Path) -> None:
    """Another name of a denied file, which no client may read either; and a root that wants no such names."""
    with ExitStack() as stack:
        gate = watched(stack, tmp_path, TREE, hardlinks=Effect.DENY)
        gate.run("shell", "printf x > n; ln n m")
        assert [each["after"] for each in outcome(gate)["changes"]] == [sized("x"), sized("x")]


def test_a_directory_that_cannot_be_listed_is_said(open_tmp_path: Path) -> None:
    def act() -> dict[str, Any]:
        base = open_tmp_path / "base"
        base.mkdir()
        with ExitStack() as stack:
            gate = watched(stack, base, TREE)
            gate.run("shell", "touch n; mkdir closed; touch closed/x; chmod 0 closed")
            last = outcome(gate)
            (base / "work/closed").chmod(0o700)
            return last

    last = in_child(act, unprivileged=True)
    assert last["changes_cut"] == "a directory in the root work could not be listed"
    assert [each["name"] for each in last["changes"]] == ["closed", "n"]


# --- in the background


def test_what_a_process_in_the_background_changes_is_said_to_be_not_looked_at(gate: Commanded) -> None:
    handle = gate.structured("start_process", command="shell", args=["touch n; cat"])["handle"]
    gate.structured("write_process", handle=handle, input="x")
    gate.structured("stop_process", handle=handle)
    outcomes = [record for record in gate.records() if record["event"] == "call.outcome"]
    assert [record["changes"] for record in outcomes] == [[]] * 3
    assert {record["changes_cut"] for record in outcomes} == {comparing.IN_BACKGROUND}


def test_a_tree_with_paths_that_are_too_long_is_not_looked_at(gate: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "MAX_CHARACTERS", 2000)
    name = "n" * 100
    gate.run("shell", f"for each in 1 2 3 4; do mkdir {name}; cd {name}; done")
    assert len(outcome(gate)["changes"]) == 4
    gate.run("shell", f"cd {'/'.join([name] * 4)}; for each in 5 6 7 8; do mkdir {name}; cd {name}; done")
    assert outcome(gate)["changes"] == []
    assert outcome(gate)["changes_cut"] == "the paths in the root work are too long: not looked at"
