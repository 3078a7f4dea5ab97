"""Where roots may lie."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fsserver.errors import ConfigError
from fsserver.policy.loader import load_policy, policy_from_roots
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.surroundings import Surroundings
from tests.policy_files import Desk, desk_in
from tests.support import REPOSITORY, in_child

UNKNOWN_UID = 54321


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def one_root(path: str, mode: str = "ro") -> str:
    return f'version: 1\nroots: {{app: {{path: "{path}", mode: {mode}}}}}\n'


@pytest.mark.parametrize(
    ("written", "path"),
    [
        pytest.param("~/notes", "home/notes", id="home"),
        pytest.param("~//notes/./", "home/notes", id="home, not normal"),
        pytest.param("{base}/home/notes", "home/notes", id="absolute"),
        pytest.param("/{base}//home/notes/", "home/notes", id="absolute, not normal"),
        pytest.param("{base}/link", "link", id="a link, not followed in the policy"),
        pytest.param("{base}/with space and \u00e9", "with space and \u00e9", id="space and accent"),
    ],
)
def test_a_root_is_a_directory_by_its_written_name(desk: Desk, written: str, path: str) -> None:
    (desk.base / "link").symlink_to(desk.home / "notes")
    (desk.base / "with space and \u00e9").mkdir()
    (root,) = desk.load(one_root(written.format(base=desk.base))).roots
    assert root.path == str(desk.base / path)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("/", "the root directory / of the machine cannot be served", id="/"),
        pytest.param("//", "the root directory / of the machine cannot be served", id="//"),
        pytest.param("{base}/to-slash", "the root directory / of the machine cannot be served", id="link to /"),
        pytest.param("~", "the home directory itself cannot be served", id="home"),
        pytest.param("~/", "the home directory itself cannot be served", id="home with a slash"),
        pytest.param("{base}/home", "the home directory itself cannot be served", id="home, absolute"),
        pytest.param("{base}/to-home", "the home directory itself cannot be served", id="link to home"),
        pytest.param("~/gone", "{base}/home/gone: no such file or directory", id="missing"),
        pytest.param("{base}/dangling", "{base}/dangling: no such file or directory", id="dangling link"),
        pytest.param("{base}/loop", "{base}/loop: too many levels of symbolic links", id="loop"),
        pytest.param("{base}/file", "{base}/file is not a directory", id="file"),
        pytest.param("notes", '"notes" is not an absolute path', id="relative"),
        pytest.param("$HOME/notes", '"$HOME/notes" is not an absolute path', id="variable"),
        pytest.param("~ada/notes", "~ stands for your own home directory only", id="somebody's home"),
        pytest.param("~/notes/..", 'a path in a policy holds no ".."', id="dot dot"),
        pytest.param("", '"" is empty, too long, or not one line that can be printed', id="empty"),
        pytest.param("/a\\0b", "a NUL character in a text", id="NUL"),
        pytest.param("/a\\nb", '"/a\ufffdb" is empty, too long, or not one line that can be printed', id="newline"),
        pytest.param("/" + "a" * 5000, '"/{long}..." is empty, too long, or not one line', id="too long"),
        pytest.param("/" + "a" * 300, "/{name}: file name too long", id="a name that is too long"),
    ],
)
def test_a_path_that_cannot_be_a_root(desk: Desk, path: str, problem: str) -> None:
    (desk.base / "to-slash").symlink_to("/")
    (desk.base / "to-home").symlink_to(desk.home)
    (desk.base / "dangling").symlink_to("nowhere")
    (desk.base / "loop").symlink_to("loop")
    (desk.base / "file").touch()
    (found,) = desk.problems(one_root(path.format(base=desk.base)))
    expected = problem.format(base=desk.base, long="a" * 56, name="a" * 300)
    assert found.split(" ", 2)[2].startswith(expected)


@pytest.mark.parametrize(
    ("roots", "problem"),
    [
        pytest.param("{a: {path: ~/app}, b: {path: ~/app/src}}", None, id="ro in ro"),
        pytest.param("{a: {path: ~/app, mode: rw}, b: {path: ~/app/src}}", None, id="ro in rw"),
        pytest.param("{a: {path: ~/app, mode: rw}, b: {path: ~/notes, mode: rw}}", None, id="apart"),
        pytest.param("{a: {path: ~/app}, ap: {path: ~/app-evil, mode: rw}}", None, id="the same beginning"),
        pytest.param(
            "{a: {path: ~/app}, b: {path: ~/app/src, mode: rw}}",
            'E031 2:37 this writable root lies in the root "a" (policy.yaml:2), which is read-only',
            id="rw in ro",
        ),
        pytest.param(
            "{b: {path: ~/app/src, mode: rw}, a: {path: ~/app}}",
            'E031 2:19 this writable root lies in the root "a" (policy.yaml:2), which is read-only',
            id="rw in ro, the other way round",
        ),
        pytest.param(
            "{a: {path: ~/app, mode: rw}, b: {path: ~/app/src, mode: rw}}",
            'E031 2:47 this writable root lies in the root "a" (policy.yaml:2), which is writable',
            id="rw in rw",
        ),
        pytest.param(
            "{a: {path: ~/app}, b: {path: ~/app/}}",
            'E031 2:37 this is the same directory as the root "a" (policy.yaml:2)',
            id="the same",
        ),
        pytest.param(
            "{a: {path: ~/app}, b: {path: ~/link, mode: rw}}",
            'E031 2:37 this writable root lies in the root "a" (policy.yaml:2), which is read-only',
            id="through a link",
        ),
    ],
)
def test_overlapping_roots(desk: Desk, roots: str, problem: str | None) -> None:
    desk.directory("app-evil")
    (desk.home / "link").symlink_to(desk.home / "app/src")
    text = f"version: 1\nroots: {roots}\n"
    if problem is None:
        desk.load(text)
    else:
        assert desk.problems(text) == [problem]


@pytest.mark.claim("C7")
@pytest.mark.parametrize(
    ("root", "mode", "problem"),
    [
        pytest.param(
            "{base}/policies", "ro", "the policy file is in this root: {base}/policies/policy.yaml", id="policy"
        ),
        pytest.param("{base}/code", "ro", "fsserver's own code is in this root: {base}/code", id="code"),
        pytest.param("{base}/code/part", "ro", "this root lies in fsserver's own code: {base}/code", id="in the code"),
        pytest.param(
            "{base}/home/.local",
            "ro",
            "the audit log is in this root: {base}/home/.local/state/fsserver/audit",
            id="state",
        ),
        pytest.param(
            "{base}/home/.local/state/fsserver/x",
            "ro",
            "this root lies in fsserver's state directory: {base}/home/.local/state/fsserver",
            id="in the state",
        ),
        pytest.param("{base}/imports", "ro", None, id="imports, read-only"),
        pytest.param(
            "{base}/imports", "rw", "a directory that Python imports from is in this root: {base}/imports", id="imports"
        ),
        pytest.param("{base}/alias", "ro", "fsserver's own code is in this root: {base}/code", id="through a link"),
    ],
)
def test_what_must_stay_outside(desk: Desk, root: str, mode: str, problem: str | None) -> None:
    (desk.base / "code/part").mkdir()
    (desk.base / "alias").symlink_to(desk.base / "code")
    desk.directory(".local/state/fsserver/x")
    text = one_root(root.format(base=desk.base), mode)
    if problem is None:
        desk.load(text)
    else:
        assert desk.problems(text) == [f"E032 2:21 {problem.format(base=desk.base)}"]


@pytest.mark.parametrize(
    "sink", ["{dir: ~/app/log}", "{dir: ~/app/log/deeper}", "{file: ~/app/audit.jsonl}", "{dir: ~/link/log}"]
)
def test_the_audit_log_stays_outside_though_it_is_not_there_yet(desk: Desk, sink: str) -> None:
    (desk.home / "link").symlink_to(desk.home / "app")
    (problem,) = desk.problems(one_root("~/app") + f"audit: {{sinks: [{sink}]}}\n")
    assert problem.startswith("E032 2:21 the audit log is in this root: ")


def test_a_root_is_not_the_audit_directory_of_another_policy(desk: Desk) -> None:
    (problem,) = desk.problems(one_root("~/app/src") + "audit: {sinks: [{dir: ~/app}]}\n")
    assert problem.startswith("E032 2:21 this root lies in the audit log: ")


@pytest.mark.parametrize("sink", ["~/audit.jsonl", "~/app/../audit.jsonl", "{base}/audit.jsonl"])
def test_a_file_for_the_audit_log_takes_its_directory_for_itself(desk: Desk, sink: str) -> None:
    """The server is let to make and rename files in it, so `check` must say what `serve` would."""
    problems = desk.problems(one_root("~/app") + f'audit: {{sinks: [{{file: "{sink.format(base=desk.base)}"}}]}}\n')
    assert any("the audit log" in problem or 'holds no ".."' in problem for problem in problems)


@pytest.mark.parametrize(
    ("roots", "problems"),
    [
        pytest.param("{app: {path: ~/app}}", ["app"], id="one"),
        pytest.param("{app: {path: ~/app, mode: rw}, notes: {path: ~/notes}}", ["app", "notes"], id="two"),
        pytest.param("{src: {path: ~/app/src}}", ["src"], id="deeper"),
    ],
)
def test_roots_beside_the_file_of_the_audit_log_are_told_at_the_file(
    desk: Desk, roots: str, problems: list[str]
) -> None:
    """It is the log that has to go elsewhere, not every root."""
    text = f"version: 1\nroots: {roots}\naudit: {{sinks: [{{file: ~/log.jsonl}}]}}\n"
    with pytest.raises(PolicyErrors) as caught:
        desk.load(text)
    told = [(p.code, p.line, p.column, p.message, p.help) for p in caught.value.problems]
    help_text = "the server may write anywhere beside the log: give it a directory of its own"
    assert told == [
        ("E032", 3, 24, f'the directory of the audit log holds the root "{name}": {desk.home}', help_text)
        for name in problems
    ]


@pytest.mark.parametrize(
    ("missing", "make", "help_text"),
    [
        pytest.param("~/note", "home/notes", 'did you mean "~/notes"? Otherwise {make_it}', id="spelt like another"),
        pytest.param("{base}/home/note/", "home/notes", 'did you mean "{base}/home/notes"? Otherwise', id="absolute"),
        pytest.param("~/gone", "home/notes", "{make_it}", id="like no other"),
        pytest.param("~/gone/far", "home/notes", "{make_it}", id="with its parent"),
        pytest.param("~/two words", "home/notes", "make it (mkdir -p '{base}/home/two words'), or", id="for a shell"),
        pytest.param("~/ssh", "home/.ssh", "{make_it}", id="never to a hidden directory"),
        pytest.param("~/.confg", "home/.config", 'did you mean "~/.config"?', id="from one hidden to another"),
        pytest.param("~/fild", None, "{make_it}", id="never to a file"),
        pytest.param("~/dangling", None, "it is a link, and what it leads to is not there", id="dangling link"),
    ],
)
def test_a_missing_root_comes_with_what_to_do(desk: Desk, missing: str, make: str | None, help_text: str) -> None:
    (desk.home / "file").touch()
    (desk.home / "dangling").symlink_to("nowhere")
    if make is not None:
        (desk.base / make).mkdir(exist_ok=True)
    written = missing.format(base=desk.base)
    with pytest.raises(PolicyErrors) as caught:
        desk.load(one_root(written))
    (problem,) = caught.value.problems
    make_it = f"make it (mkdir -p {written.replace('~', str(desk.home))}), or name another directory"
    assert str(problem.help).startswith(help_text.format(base=desk.base, make_it=make_it))


NOT_ENTERED = "the user who runs the server may not enter a directory above it"
NO_ACCESS = "the user who runs the server needs the right to read and to enter it: chmod u+rx, or name another"


@pytest.mark.parametrize("mode", ["ro", "rw"])
@pytest.mark.parametrize(
    ("bits", "path", "message", "help_text"),
    [
        pytest.param(0o000, "closed", "cannot be listed and entered: permission denied", NO_ACCESS, id="nothing"),
        pytest.param(0o444, "closed", "cannot be listed and entered: permission denied", NO_ACCESS, id="not entered"),
        pytest.param(0o111, "closed", "cannot be listed and entered: permission denied", NO_ACCESS, id="not listed"),
        pytest.param(0o000, "closed/inner", ": permission denied", NOT_ENTERED, id="below such a directory"),
        pytest.param(0o555, "closed", None, None, id="not written to, which a root need not be at its top"),
        pytest.param(0o755, "closed", None, None, id="as usual"),
    ],
)
def test_a_root_that_the_user_may_not_use_is_refused_with_its_place(
    open_tmp_path: Path, mode: str, bits: int, path: str, message: str | None, help_text: str | None
) -> None:
    (open_tmp_path / "closed/inner").mkdir(parents=True)

    def told() -> list[tuple[str, int, int, str, str | None]]:
        own = open_tmp_path / "own"
        own.mkdir()
        desk = desk_in(own)
        try:
            desk.load(one_root(str(open_tmp_path / path), mode))
        except PolicyErrors as error:
            return [(p.code, p.line, p.column, p.message, p.help) for p in error.problems]
        return []

    (open_tmp_path / "closed").chmod(bits)
    try:
        found = in_child(told, unprivileged=True)
    finally:
        (open_tmp_path / "closed").chmod(0o755)
    shown = open_tmp_path / path
    separator = "" if str(message).startswith(":") else " "
    assert found == ([] if message is None else [("E030", 2, 21, f"{shown}{separator}{message}", help_text)])


@pytest.mark.parametrize("name", [".audit.jsonl", "a" * 201, "\u00e9" * 101])
def test_a_file_for_the_audit_log_whose_next_file_could_not_be_found_is_refused(desk: Desk, name: str) -> None:
    (problem,) = desk.problems(one_root("~/app") + f'audit: {{sinks: [{{file: "~/log/{name}"}}]}}\n')
    assert problem.startswith("E030 3:24 the audit log's file has a name that begins with a dot, or")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "~/log/key",
            "the key of the audit log lies in the directory of the audit log, which the server may read and write: ",
        ),
        (
            "~/link/key",
            "the key of the audit log lies in the directory of the audit log, which the server may read and write: ",
        ),
        (
            "~/.local/state/fsserver/key",
            "the key of the audit log lies in fsserver's state directory, which the server ",
        ),
        (
            "/usr/local/etc/key",
            "the key of the audit log lies in /usr, which every command may read: /usr/local/etc/key",
        ),
        ("~/keys/key", None),
    ],
)
def test_a_key_is_refused_where_the_server_or_a_command_reaches_it(desk: Desk, key: str, told: str | None) -> None:
    for name in ("log", "keys", ".local/state/fsserver"):
        desk.directory(name)
    (desk.home / "link").symlink_to("log")
    text = one_root("~/app", "rw") + f"audit: {{key: {key}, sinks: [{{dir: ~/log}}]}}\n"
    commands = "commands: {cat: {exec: /bin/cat, args: any}}\n"
    if told is not None:
        (problem,) = desk.problems(text + commands)
        assert problem.startswith(f"E032 3:14 {told}")
    if told is None or "every command" in told:
        assert desk.load(text).audit.key == key.replace("~", str(desk.home))


def test_keep_is_refused_where_no_sink_is_a_directory(desk: Desk) -> None:
    sinks = "{file: ~/log/a.jsonl}, {file: ~/log/b.jsonl}"
    (problem,) = desk.problems(one_root("~/app") + f"audit:\n  sinks: [{sinks}]\n  keep: {{time: 30d}}\n")
    assert problem.startswith("E022 5:9 `keep` removes ended runs from a directory, and every sink here is one file")
    directory = sinks.replace("file: ~/log/b.jsonl", "dir: ~/audit, required: false")
    audit = desk.load(one_root("~/app") + f"audit: {{sinks: [{directory}], keep: {{time: 30d}}}}\n").audit
    assert (audit.keep_s, audit.keep_bytes) == (30 * 86400.0, None)
    audit = desk.load(one_root("~/app") + "audit: {keep: {size: 1GiB}}\n").audit
    assert (audit.keep_s, audit.keep_bytes) == (None, 1024**3)


@pytest.mark.parametrize(
    ("section", "place"),
    [
        pytest.param('roots: {{app: {{path: ~/app, deny: ["{root}/secret"]}}}}', "2:35", id="deny"),
        pytest.param('roots: {{app: {{path: ~/app, deny: ["{root}"]}}}}', "2:35", id="the root itself"),
        pytest.param('roots: {{app: {{path: ~/link, deny: ["{root}/x"]}}}}', "2:36", id="the real path of a link"),
        pytest.param(
            'roots: {{app: {{path: ~/app, deny: [{{glob: "*.key", except: ["{root}/x"]}}]}}}}', "2:60", id="except"
        ),
        pytest.param('roots: {{app: {{path: ~/app}}}}\nprotect: {{read_only: ["{root}/**"]}}', "3:23", id="protect"),
    ],
)
def test_a_glob_that_repeats_its_roots_path_is_refused(desk: Desk, section: str, place: str) -> None:
    (desk.home / "link").symlink_to("app")
    problems = desk.problems(f"version: 1\n{section.format(root=desk.home / 'app')}\n")
    assert problems == [f"E016 {place} a glob begins at its root, and this one repeats the root's path"]


def test_a_link_to_the_policy_must_stay_outside_too(desk: Desk) -> None:
    """Whoever can change the link chooses the policy of the next start."""
    real = desk.write(one_root("~/app"))
    link = desk.home / "app/policy.yaml"
    link.symlink_to(real)
    with pytest.raises(PolicyErrors, match="the policy file is in this root"):
        load_policy(link, desk.here)


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ("policy", "the policy file is in this root"),
        ("extended", "the policy file is in this root"),
        ("log", "the audit log is in this root"),
        ("state", "the audit log is in this root"),  # whose place it is by default
        ("code", "fsserver's own code is in this root"),
    ],
)
def test_a_link_in_a_root_is_on_the_way_to_nothing_that_must_stay_outside(desk: Desk, thing: str, says: str) -> None:
    """A client could replace the link: ``current`` leads through the root, though it begins and ends outside."""
    for name in ("conf", "logs", "state"):
        (desk.base / name).mkdir()
    (desk.home / "app/settings").symlink_to(desk.base)
    (desk.base / "current").symlink_to(desk.home / "app/settings")
    text = one_root("~/app", "rw")
    real = desk.write(text)
    (desk.write("version: 1\n", "base.yaml")).rename(desk.base / "conf/base.yaml")
    here, path = desk.here, real
    if thing == "policy":
        path = desk.base / "current/policies/policy.yaml"
    elif thing == "extended":
        desk.write(text.replace("version: 1\n", "version: 1\nextends: [../current/conf/base.yaml]\n"))
    elif thing == "log":
        desk.write(text + f"audit: {{sinks: [{{dir: {desk.base}/current/logs/x}}]}}\n")
    elif thing == "state":
        here = replace(here, state=str(desk.base / "current/state"))
    else:
        here = replace(here, own=(("fsserver's own code", str(desk.base / "current/code")),))
    with pytest.raises(PolicyErrors, match=says):
        load_policy(path, here)


def test_links_that_go_round_end(desk: Desk) -> None:
    (desk.base / "loop").symlink_to("loop/x")
    text = one_root("~/app", "rw") + f"audit: {{sinks: [{{dir: {desk.base}/loop/logs}}]}}\n"
    assert desk.load(text).audit.directory == f"{desk.base}/loop/logs"


@pytest.mark.parametrize(
    ("sink", "place"), [("{file: {base}/policies/log.jsonl}", "3:24"), ("{dir: {base}/policies}", "1:1")]
)
def test_the_policy_does_not_lie_where_the_server_may_write(desk: Desk, sink: str, place: str) -> None:
    text = one_root("~/app") + f"audit: {{sinks: [{sink.replace('{base}', str(desk.base))}]}}\n"
    (problem,) = desk.problems(text)
    assert problem == (
        f"E032 {place} the policy file lies in the directory of the audit log, where the server may write: "
        f"{desk.base}/policies/policy.yaml"
    )


def test_an_extended_file_must_stay_outside_too(desk: Desk) -> None:
    base = desk.home / "app/base.yaml"
    base.write_text("version: 1\n")
    base.chmod(0o600)
    (problem,) = desk.problems("version: 1\nextends: [../home/app/base.yaml]\nroots: {app: {path: ~/app}}\n")
    assert problem.startswith("E032 3:21 the policy file is in this root: ")


# Only root can give the file to a group that is surely not its owner's alone.
OTHERS_WRITE = [0o602, 0o666, *([0o620] if os.geteuid() == 0 else [])]


@pytest.mark.parametrize("mode", OTHERS_WRITE)
def test_a_policy_file_that_others_can_change_is_refused(desk: Desk, mode: int) -> None:
    path = desk.write(one_root("~/app"))
    if os.geteuid() == 0:
        os.chown(path, 0, 12345)  # else the group may be root's alone
    path.chmod(mode)
    with pytest.raises(PolicyErrors, match="can be changed by other users") as caught:
        load_policy(path, desk.here)
    assert caught.value.message.endswith(f"= help: chmod go-w {path}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(Path.mkdir, "is not a regular file", id="directory"),
        pytest.param(os.mkfifo, "is not a regular file", id="FIFO"),
        pytest.param(lambda path: None, "no such file or directory", id="missing"),
    ],
)
def test_a_policy_that_is_no_file_is_refused(desk: Desk, make: Callable[[Path], None], message: str) -> None:
    path = desk.base / "policy.yaml"
    make(path)
    with pytest.raises(PolicyErrors, match=message) as caught:
        load_policy(path, desk.here)
    assert caught.value.message.startswith(f"{path}:1:1: error[E0")


def test_a_policy_file_of_another_user_is_refused(desk: Desk) -> None:
    path = desk.write(one_root("~/app"))
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        here = desk.here
    else:
        here = replace(desk.here, uid=os.geteuid() + 1)
    with pytest.raises(PolicyErrors, match="belongs to user"):
        load_policy(path, here)


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_a_current_directory_that_was_removed_matters_for_relative_paths_only(desk: Desk, relative: bool) -> None:
    path, root = desk.write(one_root("~/app")), desk.home / "app"

    def load() -> tuple[str, str]:
        gone = desk.directory("gone")
        os.chdir(gone)
        gone.rmdir()
        try:
            load_policy(Path("policy.yaml") if relative else path, desk.here)
            policy_from_roots(["app" if relative else str(root)], write=False, here=desk.here)
        except ConfigError as error:
            return ("refused", error.message)
        return ("loaded", "")

    message = "policy.yaml: the current directory was removed; give an absolute path"
    assert in_child(load) == (("refused", message) if relative else ("loaded", ""))


def test_a_user_without_any_home_directory_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")

    def of_nobody_known() -> str:
        if os.geteuid() == 0:
            os.setresuid(UNKNOWN_UID, UNKNOWN_UID, UNKNOWN_UID)
        try:
            return Surroundings.of_process().home
        except ConfigError as error:
            return error.message

    found = in_child(of_nobody_known)
    if os.geteuid() == 0:
        assert found == f"HOME is not an absolute path, and user {UNKNOWN_UID} is not in the user database: set HOME"
    else:
        assert found == pwd.getpwuid(os.geteuid()).pw_dir


def test_the_process_has_its_own_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    here = Surroundings.of_process()
    assert (here.home, here.state) == (str(tmp_path), str(tmp_path / ".local/state/fsserver"))
    assert ("fsserver's own code", str(REPOSITORY / "fsserver")) in here.own
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", "not absolute")
    here = Surroundings.of_process()
    assert here.state == str(tmp_path / "state/fsserver")
    assert os.path.isabs(here.home)
