"""From a file, or from directories, to the frozen policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.compiled import (
    Action,
    ApprovalRules,
    AuditRules,
    ClientRoots,
    Effect,
    Layer,
    Limits,
    Mode,
    SandboxRules,
)
from fsserver.policy.decision import decide
from fsserver.policy.loader import policy_from_roots
from fsserver.policy.model import POLICY
from fsserver.policy.presets import NAMES
from fsserver.policy.problems import PolicyErrors
from fsserver.policy.schema import Key, ListOf, MapOf, OneKey, Section, Spec, TextOrSection
from fsserver.policy.unavailable import KEYS, VALUES
from tests.policy_files import Desk, desk_in
from tests.support import REPOSITORY


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def test_a_version_and_a_root_are_a_whole_policy(desk: Desk) -> None:
    policy = desk.load("version: 1\nroots: {notes: {path: ~/notes, mode: rw}}\n", "mine.yaml")
    (root,) = policy.roots
    assert (policy.name, policy.source) == ("mine", str(desk.base / "policies/mine.yaml"))
    assert (root.name, root.path, root.mode) == ("notes", str(desk.home / "notes"), Mode.RW)
    assert str(root.origin) == "mine.yaml:2"
    assert policy.audit == AuditRules(directory=str(desk.home / ".local/state/fsserver/audit"))
    assert (policy.limits, policy.sandbox, policy.approvals) == (Limits(), SandboxRules(), ApprovalRules())
    assert (policy.client_roots, dict(policy.profiles), policy.tools) == (ClientRoots.IGNORE, {}, None)
    for action in Action:
        assert decide(root, "a", action).allowed


def test_every_key_arrives(desk: Desk) -> None:
    policy = desk.load(
        """\
version: 1
name: whole
roots:
  app:
    path: ~/app
    mode: rw
    deny:
      - "**/.env"
      - glob: "*.pem"
        except: ["**/site-packages/**"]
    read_only: ["vendor/**"]
    operations: {create: allow, edit: allow, overwrite: ask, move: deny, delete: ask}
    hardlinks: deny
    max_file: 20MiB
    quota: 20GiB
    tests:
      accept: [read src/main.py, edit src/main.py]
      reject: ["read .env", delete src/main.py, edit vendor/x]
limits: {time: 90s, memory: 1GiB, output: 1MiB, result: 32KiB, calls: {concurrency: 2}, background: 3}
sandbox: {require: landlock, accept_unprotected: true, accept_uid0: true}
client_roots: narrow
profiles:
  reader: {roots: {app: ro}, tools: [read_text_file, list_directory]}
  nobody: {roots: {}, tools: []}
approvals: {via: [elicitation], timeout: 1m, on_unavailable: deny}
audit: {sinks: [{file: ~/log/audit.jsonl}], on_failure: refuse, content: hash, max_size: 10MiB}
server: {transport: stdio}
"""
    )
    (root,) = policy.roots
    assert [(rule.glob, rule.exceptions, str(rule.origin)) for rule in root.deny] == [
        ("**/.env", (), "policy.yaml:8"),
        ("*.pem", ("**/site-packages/**",), "policy.yaml:9"),
    ]
    assert [(rule.glob, str(rule.origin)) for rule in root.read_only] == [("vendor/**", "policy.yaml:11")]
    assert {str(action): (str(effect), str(origin)) for action, (effect, origin) in root.operations.items()} == {
        "create": ("allow", "policy.yaml:12"),
        "edit": ("allow", "policy.yaml:12"),
        "overwrite": ("ask", "policy.yaml:12"),
        "move": ("deny", "policy.yaml:12"),
        "delete": ("ask", "policy.yaml:12"),
    }
    assert (root.hardlinks, root.max_file, root.quota) == (Effect.DENY, 20 * 1024**2, 20 * 1024**3)
    assert policy.limits == Limits(90.0, 1024**3, 1024**2, 32 * 1024, 2, 3)
    assert policy.sandbox == SandboxRules(Layer.LANDLOCK, accept_unprotected=True, accept_uid0=True)
    assert policy.client_roots is ClientRoots.NARROW
    assert policy.approvals == ApprovalRules(timeout_s=60.0)
    assert policy.audit == AuditRules(directory=None, file=str(desk.home / "log/audit.jsonl"), max_size=10 * 1024**2)
    reader, nobody = policy.profiles["reader"], policy.profiles["nobody"]
    assert (dict(reader.roots or {}), reader.tools) == (
        {"app": Mode.RO},
        frozenset({"read_text_file", "list_directory"}),
    )
    assert (nobody.roots, nobody.tools) == ({}, frozenset())
    assert str(reader.origin) == "policy.yaml:23"


def test_a_root_is_read_only_unless_written(desk: Desk) -> None:
    (root,) = desk.load("version: 1\nroots:\n  app: {path: ~/app}\n").roots
    refusal = decide(root, "a", Action.CREATE)
    assert (root.mode, refusal.code, str(refusal.rule)) == (Mode.RO, "denied.read_only", "policy.yaml:3")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "E011 1:1 the policy is empty", id="empty"),
        pytest.param("# nothing\n", "E011 1:1 the policy is empty", id="comment"),
        pytest.param("[]", "E013 1:1 a policy must be a map with the keys version, name, ", id="list"),
        pytest.param("hello", "E013 1:1 a policy must be a map with the keys version, name, ", id="text"),
        pytest.param("null", "E011 1:1 a policy has no value", id="null"),
        pytest.param("version: 1\n", "E011 1:1 a policy needs at least one root", id="no roots"),
        pytest.param("version: 1\nroots: {}\n", "E011 2:8 a policy needs at least one root", id="no root"),
        pytest.param("version: 1\nroots: []\n", 'E013 2:8 "roots" must be a map', id="list of roots"),
        pytest.param("version: 1\nroots:\n", 'E011 2:7 "roots" has no value', id="null roots"),
        pytest.param("version: 1\nroots: {a: }\n", 'E011 2:12 "a" has no value', id="null root"),
        pytest.param("version: 1\nroots: {a: {}}\n", 'E011 2:12 the root "a" has no path', id="no path"),
        pytest.param("roots: {a: {path: ~/app}}\n", "E011 1:1 a policy needs the key version", id="no version"),
        pytest.param(
            "version: 2\nroots: {a: {path: ~/app}}\n", "E018 1:10 this version of fsserver reads", id="version 2"
        ),
        pytest.param("version: true\nroots: {a: {path: ~/app}}\n", "E018 1:10 this version", id="version true"),
        pytest.param("version: '1'\nroots: {a: {path: ~/app}}\n", "E018 1:10 this version", id="version in quotes"),
        pytest.param("version: 1.0\nroots: {a: {path: ~/app}}\n", "E018 1:10 this version", id="version 1.0"),
    ],
)
def test_no_policy_at_all(desk: Desk, text: str, problem: str) -> None:
    (found,) = desk.problems(text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("root", "problem"),
    [
        pytest.param("deny: x", 'E013 "deny" must be a list, not text', id="text for a list"),
        pytest.param("deny: {glob: x}", 'E013 "deny" must be a list, not a map', id="map for a list"),
        pytest.param("deny: [[x]]", 'E013 an item of "deny" must be text, not a list', id="list in a list"),
        pytest.param("deny: [~]", 'E011 an item of "deny" has no value', id="null in a list"),
        pytest.param("deny: [true]", 'E013 an item of "deny" must be text, not true or false', id="boolean"),
        pytest.param("deny: [{except: [x]}]", 'E011 an item of "deny" needs the key glob', id="no glob"),
        pytest.param("deny: [{glob: [x]}]", 'E013 "glob" must be text, not a list', id="list for a glob"),
        pytest.param("deny: [{glob: x, except: x}]", 'E013 "except" must be a list, not text', id="text for except"),
        pytest.param("deny: [{glob: x, expect: [x]}]", 'E010 unknown key "expect" in an item of "deny"', id="unknown"),
        pytest.param("mode: [rw]", 'E013 "mode" must be ro or rw, not a list', id="list for a word"),
        pytest.param("mode: RW", 'E012 "RW" is not a valid mode; expected ro or rw', id="upper case"),
        pytest.param("mode: 7", 'E012 "7" is not a valid mode; expected ro or rw', id="number for a word"),
        pytest.param("mode: true", 'E012 "true" is not a valid mode; expected ro or rw', id="boolean for a word"),
        pytest.param("mode: ''", 'E012 "" is not a valid mode; expected ro or rw', id="empty word"),
        pytest.param("operations: {delete: allow}", "E021 this root is read-only", id="operation of a read-only root"),
        pytest.param("operations: {read: deny}", 'E010 unknown key "read" in "operations"', id="no such operation"),
        pytest.param("operations: deny", 'E013 "operations" must be a map', id="text for a map"),
        pytest.param("hardlinks: ask", 'E012 "ask" is not a valid effect; expected allow or deny', id="hard links"),
        pytest.param("max_file: 20", 'E014 "20" has no unit', id="no unit"),
        pytest.param("max_file: 2.5", 'E014 "2.5" is not a size', id="fraction"),
        pytest.param("max_file: {}", 'E013 "max_file" must be a size such as 20MiB, not a map', id="map for a size"),
        pytest.param("quota: true", 'E013 "quota" must be a size such as 20MiB, not true or false', id="boolean size"),
        pytest.param("path: 7", 'E013 "path" must be text, not a number', id="number for a path"),
        pytest.param("tests: {accept: [read]}", "E013 an example is an action and a path", id="example without a path"),
        pytest.param("tests: {accept: [fetch x]}", "E013 an example is an action and a path", id="no such action"),
        pytest.param("tests: {accept: [read /x]}", 'E013 "/x" is not a path beneath the root', id="absolute example"),
        pytest.param(
            "tests: {reject: [read ../x]}", 'E013 "../x" is not a path beneath the root', id="outside example"
        ),
        pytest.param("tests: {accept: [edit x]}", 'E041 "edit x" is to be accepted, and is rejected: ', id="refused"),
        pytest.param(
            "tests: {reject: [read x]}", 'E041 "read x" is to be rejected, and the rules accept it', id="accepted"
        ),
    ],
)
def test_a_root_that_is_not_right(desk: Desk, root: str, problem: str) -> None:
    path = "" if root.startswith("path") else "path: ~/app, "
    (found,) = desk.problems(f"version: 1\nroots: {{app: {{{path}{root}}}}}\n")
    code, _, message = found.split(" ", 2)
    assert f"{code} {message}".startswith(problem)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        pytest.param("name: a b", 'E015 "a b" is not a name', id="name"),
        pytest.param("extends: preset:secrets", 'E013 "extends" must be a list, not text', id="extends"),
        pytest.param("limits: {time: 1}", 'E014 "1" has no unit', id="time"),
        pytest.param("limits: {calls: 4}", 'E013 "calls" must be a map with the keys concurrency, rate, ', id="calls"),
        pytest.param("limits: {calls: {concurrency: 0}}", 'E014 "concurrency" is 0; expected 1 to 256', id="zero"),
        pytest.param("limits: {background: -1}", 'E014 "background" is -1; expected 1 to 256', id="negative"),
        pytest.param("limits: {background: true}", 'E013 "background" must be a whole number', id="boolean"),
        pytest.param("limits: {background: 1.5}", 'E013 "background" must be a whole number', id="fraction"),
        pytest.param("sandbox: {require: strong}", 'E012 "strong" is not a valid layer', id="layer"),
        pytest.param("sandbox: {accept_uid0: 1}", 'E013 "accept_uid0" must be true or false, not a number', id="flag"),
        pytest.param("audit: {sinks: []}", 'E011 "sinks" needs at least 1 item', id="no sink"),
        pytest.param(
            "audit: {sinks: [{}]}", 'E011 an item of "sinks" has 0 keys; expected one, dir, file, ', id="empty"
        ),
        pytest.param(
            "audit: {sinks: [x]}", 'E013 an item of "sinks" must be a map with one key, dir, file, ', id="text"
        ),
        pytest.param(
            "audit: {sinks: [{dir: /a, file: /b}]}", 'E022 an item of "sinks" has 2 keys; expected one', id="both"
        ),
        pytest.param("audit: {sinks: [{dir: log}]}", 'E030 "log" is not an absolute path', id="relative"),
        pytest.param(
            "audit: {on_failure: ignore}", 'E012 "ignore" is not a valid reaction; expected refuse', id="failure"
        ),
        pytest.param("approvals: {via: []}", 'E011 "via" needs at least 1 item', id="no way to ask"),
        pytest.param("approvals: {on_unavailable: allow}", 'E012 "allow" is not a valid effect', id="allow unasked"),
        pytest.param("profiles: {r: {roots: {nope: ro}}}", 'E040 there is no root "nope"', id="unknown root"),
        pytest.param("profiles: {r: {roots: [app]}}", 'E013 "roots" must be a map', id="list of roots"),
        pytest.param(
            "profiles: {r: {roots: {app: rw}}}", 'E021 the root "app" is read-only (policy.yaml:2)', id="wider"
        ),
        pytest.param("profiles: {r: {tools: [read]}}", 'E012 "read" is not a valid tool', id="unknown tool"),
        pytest.param("profiles: {'': {}}", 'E015 "" is not a name', id="empty name"),
        pytest.param("protect: {mode: ro}", 'E010 unknown key "mode" in "protect"', id="protect"),
        pytest.param("tests: {}", 'E010 unknown key "tests"', id="tests belong to a root"),
    ],
)
def test_a_section_that_is_not_right(desk: Desk, section: str, problem: str) -> None:
    (found,) = desk.problems(f"version: 1\nroots: {{app: {{path: ~/app}}}}\n{section}\n")
    code, _, message = found.split(" ", 2)
    assert f"{code} {message}".startswith(problem)


def as_yaml(path: tuple[str, ...], value: str) -> str:
    """A flow map that holds ``value`` at a path of the tables."""
    for step in reversed(path):
        value = f"[{value}]" if step == "[]" else f"{{{'x' if step == '*' else step}: {value}}}"
    return value[1:-1]


def test_every_reserved_key_is_refused_as_not_available(desk: Desk) -> None:
    for path in KEYS:
        problems = desk.problems(f"{{version: 1, {as_yaml(path, 'null')}}}")
        assert any(p.startswith("E017") and f'"{path[-1]}" is not available in this version' in p for p in problems), (
            path
        )


def test_every_reserved_word_is_refused_as_not_available(desk: Desk) -> None:
    for path, words in VALUES.items():
        for word in words:
            problems = desk.problems(f"{{version: 1, {as_yaml(path, repr(word))}}}")
            assert any(p.startswith("E017") and f'"{word}" is not available in this version' in p for p in problems), (
                path
            )


def sections(spec: Spec, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Section]:
    """Every section of the language by its path."""
    match spec:
        case Section(keys) | OneKey(keys):
            found = {path: Section(keys)}
            for name, key in keys.items():
                assert isinstance(key, Key)
                found |= sections(key.spec, (*path, name))
            return found
        case MapOf(value):
            return sections(value, (*path, "*"))
        case ListOf(item):
            return sections(item, (*path, "[]"))
        case TextOrSection(_, section):
            return sections(section, path)
    return {}


def test_the_reserved_table_has_no_key_that_is_available() -> None:
    known = sections(POLICY)
    for path in KEYS:
        assert path[:-1] in known, f"{path} lies nowhere"
        assert path[-1] not in known[path[:-1]].keys


def test_the_digest_is_of_what_the_policy_says(desk: Desk) -> None:
    text = "version: 1\nroots: {app: {path: ~/app, deny: [a]}}\n"
    first = desk.load(text).digest
    assert (
        desk.load("# moved\n\n" + text.replace("{path: ~/app, deny: [a]}", "{deny: [a], path: ~/app}")).digest == first
    )
    assert desk.load(text, "other.yaml").digest == first
    assert desk.load(text.replace("[a]", "[b]")).digest != first
    assert desk.load(text.replace("~/app", "~/notes")).digest != first


def test_every_preset_file_is_a_preset() -> None:
    files = {path.stem for path in (REPOSITORY / "fsserver/policy/presets").glob("*")}
    assert files == set(NAMES)


def test_preset_readonly_beats_every_mode(desk: Desk) -> None:
    (root,) = desk.load("version: 1\nextends: [preset:readonly]\nroots: {app: {path: ~/app, mode: rw}}\n").roots
    refusal = decide(root, "a/b", Action.EDIT)
    assert str(refusal.rule) == "preset:readonly:4"
    assert decide(root, "a/b", Action.READ).allowed


@pytest.mark.parametrize(
    ("name", "read", "edit"),
    [
        pytest.param(".env", False, False, id="environment"),
        pytest.param("a/.env.production", False, False, id="stage"),
        pytest.param(".env.example", True, True, id="template"),
        pytest.param("src/env.py", True, True, id="ordinary"),
        pytest.param("keys/id_ed25519", False, False, id="private key"),
        pytest.param("keys/id_ed25519.pub", True, True, id="public key"),
        pytest.param("server.key", False, False, id="key file"),
        pytest.param("tls/server.pem", False, False, id="PEM"),
        pytest.param("venv/lib/python3.11/site-packages/x/cacert.pem", True, True, id="vendored by pip"),
        pytest.param("vendor/certifi/cacert.pem", True, True, id="certifi"),
        pytest.param("node_modules/a/test/fixture.key", True, True, id="vendored by npm"),
        pytest.param("node_modules/a/.npmrc", False, False, id="an exception is for certificates only"),
        pytest.param(".ssh/config", False, False, id="ssh"),
        pytest.param(".gnupg/x", False, False, id="gnupg"),
        pytest.param(".aws/credentials", False, False, id="aws"),
        pytest.param(".kube/config", False, False, id="kube"),
        pytest.param(".docker/config.json", False, False, id="docker"),
        pytest.param(".docker/daemon.json", True, True, id="docker's other file"),
        pytest.param(".netrc", False, False, id="netrc"),
        pytest.param(".pypirc", False, False, id="pypirc"),
        pytest.param(".git-credentials", False, False, id="git credentials"),
        pytest.param(".git/hooks/pre-commit", True, False, id="hook"),
        pytest.param("sub/.git/config", True, False, id="git configuration"),
        pytest.param(".git/modules/lib/a/hooks/post-checkout", True, False, id="hook of a submodule"),
        pytest.param(".git/modules/refs/x/hooks/post-commit", True, False, id="hook of a submodule called refs/x"),
        pytest.param(".git/modules/a/logs/b/config", True, False, id="configuration of a submodule called a/logs/b"),
        pytest.param(".git/modules/a/config.worktree", True, False, id="a submodule's other configuration"),
        pytest.param(".git/commondir", True, False, id="where git looks for hooks instead"),
        pytest.param(".git/worktrees/w/commondir", True, False, id="where git looks for hooks of a working tree"),
        pytest.param(".git/modules/a/commondir", True, False, id="where git looks for hooks of a submodule"),
        pytest.param("sub/.git", True, False, id="the file that says where a repository is"),
        pytest.param("sub/.git/index", True, True, id="what is in a repository"),
        pytest.param(".git/HEAD", True, True, id="commits work"),
        pytest.param(".git/refs/heads/hooks", True, True, id="a branch called hooks"),
        pytest.param(".gitmodules", True, False, id="gitmodules"),
        pytest.param(".bashrc", True, False, id="shell"),
        pytest.param(".vscode/tasks.json", True, False, id="editor"),
        pytest.param(".claude/settings.json", True, False, id="agent"),
        pytest.param(".mcp.json", True, False, id="client configuration"),
        pytest.param("package.json", True, True, id="project file"),
    ],
)
def test_preset_secrets(desk: Desk, name: str, read: bool, edit: bool) -> None:
    (root,) = desk.load("version: 1\nextends: [preset:secrets]\nroots: {app: {path: ~/app, mode: rw}}\n").roots
    assert decide(root, name, Action.READ).allowed is read
    assert decide(root, name, Action.EDIT).allowed is edit
    if not edit:
        assert str(decide(root, name, Action.EDIT).rule).startswith("preset:secrets:")


def test_directories_on_the_command_line_make_a_policy(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.home)
    desk.directory("other/notes")
    desk.directory("...odd name")
    policy = policy_from_roots(
        ["notes", f"{desk.home}/other/notes/", "~/app/", "...odd name"], write=False, here=desk.here
    )
    assert [(root.name, root.path, str(root.mode)) for root in policy.roots] == [
        ("notes", str(desk.home / "notes"), "ro"),
        ("notes-2", str(desk.home / "other/notes"), "ro"),
        ("app", str(desk.home / "app"), "ro"),
        ("odd-name", str(desk.home / "...odd name"), "ro"),
    ]
    assert (policy.name, policy.source) == ("command-line", None)
    root = policy.roots[0]
    assert str(decide(root, ".env", Action.READ).rule).startswith("preset:secrets:")
    assert str(decide(root, "a", Action.CREATE).rule) == "command line"


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        pytest.param("\u00fcn\u00ef", "\u00fcn\u00ef", id="accents"),
        pytest.param("u\u0308ni\u0308", "\u00fcn\u00ef", id="accents, decomposed"),
        pytest.param("\u65e5\u672c\u8a9e", "\u65e5\u672c\u8a9e", id="ideographs"),
        pytest.param("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940", id="vowel signs"),
        pytest.param("\u0663", "\u0663", id="digit"),
        pytest.param("._\u00e9t\u00e9", "\u00e9t\u00e9", id="beginning"),
        pytest.param("a \U0001f4c1 b", "a---b", id="symbol"),
        pytest.param("\U0001f4c1", "root", id="nothing that can be kept"),
        pytest.param("a\u202eb", None, id="direction"),
        pytest.param("\u00e9" * 60, "\u00e9" * 48, id="long"),
    ],
)
def test_a_directory_on_the_command_line_gives_its_name_whatever_its_script(
    desk: Desk, directory: str, name: str | None
) -> None:
    """The name stands in refusals and in the audit log, so it must tell one directory from another."""
    desk.directory(directory)
    if name is None:
        with pytest.raises(PolicyErrors, match="not one line that can be printed"):
            policy_from_roots([str(desk.home / directory)], write=False, here=desk.here)
    else:
        (root,) = policy_from_roots([str(desk.home / directory)], write=False, here=desk.here).roots
        assert root.name == name
        assert f'the root "{name}"' in str(decide(root, "a", Action.CREATE).reason)


def test_directories_whose_names_become_the_same_stay_apart(desk: Desk) -> None:
    for name in ("\u00fc", "u\u0308", "\U0001f4c1", "\U0001f4c2"):
        desk.directory(name)
    roots = [str(desk.home / name) for name in ("\u00fc", "u\u0308", "\U0001f4c1", "\U0001f4c2")]
    policy = policy_from_roots(roots, write=False, here=desk.here)
    assert [root.name for root in policy.roots] == ["\u00fc", "\u00fc-2", "root", "root-2"]


def test_write_makes_them_writable(desk: Desk) -> None:
    (root,) = policy_from_roots([str(desk.home / "notes")], write=True, here=desk.here).roots
    assert root.mode is Mode.RW
    assert decide(root, "a", Action.DELETE).allowed
    assert not decide(root, ".env", Action.CREATE).allowed


@pytest.mark.parametrize(
    ("directories", "message"),
    [
        pytest.param([], "a policy needs at least one root", id="none"),
        pytest.param([""], "is empty", id="empty"),
        pytest.param(["/"], "the root directory / of the machine cannot be served", id="/"),
        pytest.param(["~"], "the home directory itself cannot be served", id="home"),
        pytest.param(["/nowhere/at/all"], "/nowhere/at/all: no such file or directory", id="missing"),
        pytest.param(["a\0b"], "not one line that can be printed", id="NUL"),
        pytest.param(["~/app", "~/app/src"], "this writable root lies in the root", id="overlap"),
        pytest.param(["~/app", "~/app"], "this is the same directory as the root", id="twice"),
    ],
)
def test_directories_that_cannot_be_served(desk: Desk, directories: list[str], message: str) -> None:
    with pytest.raises(PolicyErrors, match=message):
        policy_from_roots(directories, write=True, here=desk.here)


@pytest.mark.parametrize("given", ["gone", "./gone", "$HOME/notes", "~ada/notes"])
def test_a_relative_root_that_is_missing_is_said_to_be_relative(desk: Desk, given: str) -> None:
    """A client starts the server in a directory of its own."""
    with pytest.raises(PolicyErrors) as caught:
        policy_from_roots([given], write=False, here=desk.here)
    (problem,) = caught.value.problems
    assert "begins where fsserver was started: write the whole path" in str(problem.help)


def test_a_mistake_on_the_command_line_is_shown_with_a_caret(desk: Desk) -> None:
    with pytest.raises(PolicyErrors) as caught:
        policy_from_roots([str(desk.home / "notes"), "/nowhere"], write=False, here=desk.here)
    assert caught.value.message == (
        "command line:2:8: error[E030]: /nowhere: no such file or directory\n"
        "  |\n"
        "2 | --root /nowhere\n"
        "  |        ^^^^^^^^\n"
        "  = help: make it (mkdir -p /nowhere), or name another directory"
    )
