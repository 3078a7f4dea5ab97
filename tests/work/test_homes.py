"""What a command finds in its home, in /tmp and in its environment, and what of it is there the next time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support import wait_until
from tests.work.desk import Desk, Work, desk_in

CACHE = """
import os, sys
path = os.path.join(os.environ[sys.argv[1]], "cache")
print(open(path).read() if os.path.exists(path) else "empty")
with open(path, "w") as stream:
    stream.write("from before")
"""


def twice(work: Work, command: str, variable: str) -> list[str]:
    return [work.works(command, variable).strip() for _ in range(2)]


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """A server of a command for each row below: none finds what another left."""
    desk = desk_in(tmp_path_factory.mktemp("home"))
    desk.program("tool", CACHE)
    commands = [
        f"{home}-{variable}: {{exec: {{in: workspace, find: tool}}, args: any, home: {home}}}"
        for home in ("kept", "private")
        for variable in ("HOME", "TMPDIR")
    ]
    with desk.serve(f"commands: {{{', '.join(commands)}}}\n") as work:
        yield work


@pytest.mark.parametrize(
    ("home", "variable", "second"),
    [
        pytest.param("kept", "HOME", "from before", id="kept home"),
        pytest.param("private", "HOME", "empty", id="private home"),
        pytest.param("kept", "TMPDIR", "empty", id="tmp beside a kept home"),
        pytest.param("private", "TMPDIR", "empty", id="tmp"),
    ],
)
def test_a_second_run_finds_only_what_a_kept_home_keeps(at_home: Work, home: str, variable: str, second: str) -> None:
    assert twice(at_home, f"{home}-{variable}", variable) == ["empty", second]


def test_a_kept_home_is_the_commands_own_and_outlives_the_server(desk: Desk) -> None:
    desk.program("tool", CACHE)
    one, other = (
        f"{name}: {{exec: {{in: workspace, find: tool}}, args: any, home: kept}}" for name in ("one", "other")
    )
    policy = f"name: shop\ncommands: {{{one}, {other}}}\n"
    with desk.serve(policy) as work:
        assert twice(work, "one", "HOME") == ["empty", "from before"]
        assert twice(work, "other", "HOME") == ["empty", "from before"]
    with desk.serve(policy) as work:
        assert work.works("one", "HOME") == "from before\n"
    assert [each.read_text() for each in desk.state.glob("homes/shop@*/one/cache")] == ["from before"]


def test_two_policies_of_one_name_share_no_home(desk: Desk) -> None:
    desk.program("tool", CACHE)
    policy = "commands: {tool: {exec: {in: workspace, find: tool}, args: any, home: kept}}\n"
    for directory in ("one", "other"):
        (desk.base / directory).mkdir()
        with desk.serve(policy, file=f"{directory}/policy.yaml") as work:
            assert twice(work, "tool", "HOME") == ["empty", "from before"]


def test_a_profile_leaves_nothing_in_the_home_of_who_may_do_more(desk: Desk) -> None:
    desk.program("tool", CACHE)
    policy = "commands: {tool: {exec: {in: workspace, find: tool}, args: any, home: kept}}\n"
    policy += "profiles: {reader: {roots: {workspace: ro}}}\n"
    with desk.serve(policy, profile="reader") as work:
        assert twice(work, "tool", "HOME") == ["empty", "from before"]
    with desk.serve(policy) as work:
        assert work.works("tool", "HOME") == "empty\n"


def test_a_kept_home_without_place_for_a_git_configuration_ends_no_later_run(desk: Desk) -> None:
    lines = (
        "home = os.environ['HOME']",
        "place = home + '/.gitconfig'",
        "os.chmod(home, 0o700)",  # a cell that was ready already has it as the run before left it
        "while not os.path.isdir(place + '/x'):",  # the cell of the next run is made meanwhile, and puts it right
        "    os.path.isfile(place) and os.unlink(place)",
        "    try: os.makedirs(place + '/x', exist_ok=True)",
        "    except OSError: pass",
        "os.chmod(home, 0)",
    )
    desk.program("tool", "import os\n" + "\n".join(lines) + "\n")
    with desk.serve("commands: {tool: {exec: {in: workspace, find: tool}, home: kept}}\n") as work:
        for _ in range(4):
            work.works("tool")


def test_a_git_configuration_is_whole_while_cells_of_later_runs_are_made(desk: Desk) -> None:
    lines = (
        "end, looks = time.monotonic() + float(sys.argv[1]), []",
        "while time.monotonic() < end:",
        "    looks.append(os.path.getsize(os.environ['HOME'] + '/.gitconfig'))",
        "print(set(looks) - {looks[0]})",
    )
    desk.program("tool", "import os, sys, time\n" + "\n".join(lines) + "\n")
    policy = "commands: {tool: {exec: {in: workspace, find: tool}, args: any, home: kept, background: true}}\n"
    with desk.serve(policy) as work:
        work.works("tool", "0.001")
        handle = work.structured("start_process", command="tool", args=["0.7"])["handle"]
        for _ in range(20):
            work.works("tool", "0.001")
        wait_until(lambda: work.structured("read_process", handle=handle)["state"] == "exited", "it has looked")
        assert work.structured("read_process", handle=handle)["output"] == "set()\n"


def test_the_environment_is_what_the_manual_lists(desk: Desk) -> None:
    desk.program("tool", "import json, os\nprint(json.dumps(dict(os.environ)))\n")
    policy = "commands: {tool: {exec: {in: workspace, find: tool}, env: {set: {COLOUR: blue}}}}\n"
    with desk.serve(policy) as work:
        found = json.loads(work.works("tool"))
    found.pop("LC_CTYPE", None)  # Python's own, PEP 538
    assert found == {
        "PATH": f"{desk.root}:/usr/local/bin:/usr/bin:/bin",
        "HOME": "/run/home",
        "TMPDIR": "/tmp",
        "USER": "user",
        "LOGNAME": "user",
        "LANG": "C.UTF-8",
        "COLOUR": "blue",
    }
