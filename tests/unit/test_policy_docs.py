"""The manual of the policy language is true and complete."""

from __future__ import annotations

import re
from pathlib import Path

from fsserver.policy.model import POLICY
from fsserver.policy.presets import NAMES
from fsserver.policy.problems import Code
from fsserver.policy.schema import ListOf, MapOf, OneKey, Section, Spec, TextOrSection
from fsserver.policy.unavailable import KEYS, VALUES
from tests.policy_files import desk_in
from tests.support import REPOSITORY

MANUAL = (REPOSITORY / "docs/policy.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)


def keys(spec: Spec) -> set[str]:
    match spec:
        case Section(inner) | OneKey(inner):
            return set(inner) | {name for key in inner.values() for name in keys(key.spec)}
        case MapOf(value):
            return keys(value)
        case ListOf(item):
            return keys(item)
        case TextOrSection(_, section):
            return keys(section)
    return set()


def test_every_policy_in_the_manual_loads(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    small, whole, team = EXAMPLES
    assert [root.name for root in desk.load(small).roots] == ["notes"]
    assert [root.name for root in desk.load(whole).roots] == ["app", "notes"]
    above = desk.directory("srv/work")
    served = desk.load(team.replace("/srv/work", str(above)))
    assert [(root.name, root.each) for root in served.roots] == [("work", "${principal.name}"), ("shared", None)]


def test_every_policy_in_the_manual_of_commands_loads(tmp_path: Path) -> None:
    desk = desk_in(tmp_path)
    desk.directory("src/app")
    cargo = desk.directory(".rustup/toolchains/stable-x86_64-unknown-linux-gnu/bin") / "cargo"
    cargo.write_bytes(b"#!/bin/sh\n")
    cargo.chmod(0o755)
    texts = re.findall(r"^```yaml\n(.*?)^```$", (REPOSITORY / "docs/commands.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [list(desk.load(text).commands) for text in texts] == [["git", "pytest"], ["cargo"]]


def test_the_whole_examples_hold_every_key() -> None:
    _, whole, team = EXAMPLES
    assert {name for name in keys(POLICY) if not re.search(rf"\b{name}\b", whole + team)} == set()


def test_the_manual_lists_every_error_preset_and_reserved_word() -> None:
    assert set(re.findall(r"^\| (E\d+) \|", MANUAL, re.MULTILINE)) == {code.value for code in Code}
    assert all(f"| `preset:{name}` |" in MANUAL for name in NAMES)
    reserved = {path[-1] for path in KEYS} | {
        word.removeprefix("preset:") for words in VALUES.values() for word in words
    }
    section = MANUAL.split("## Not available in this version")[1].split("\n## ")[0]
    assert {word for word in reserved if not re.search(rf"\b{word}\b", section)} == set()
