"""What is hidden in texts and records, what is not, and that no text makes that slow."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fsserver.audit.entry import Entry
from fsserver.audit.log import AuditLog
from fsserver.audit.record import content
from fsserver.audit.redaction import Redactor
from fsserver.audit.secret_forms import FORMS, has_capitals
from fsserver.audit.verify import Status, verify
from fsserver.policy.compiled import AuditRules
from tests.audit_logs import CALL, private
from tests.audit_sample import write_sample
from tests.audit_schema import misfits
from tests.secret_rows import GITHUB, HEX, JWT, NO_SECRETS, SECRETS, Row

KNOWN = Redactor()


@pytest.mark.parametrize("eager", [False, True], ids=["in a result", "in a record"])
@pytest.mark.parametrize("row", SECRETS.values(), ids=SECRETS)
def test_secret_is_hidden_and_named(row: Row, eager: bool) -> None:
    assert row.secret in row.text
    shown, places = KNOWN.text(row.text, eager=eager)
    assert row.secret not in shown
    assert f"[redacted:{row.name}]" in shown
    assert places >= 1
    assert KNOWN.text(shown, eager=eager) == (shown, 0), "what is hidden is not hidden again"


@pytest.mark.parametrize("text", NO_SECRETS.values(), ids=NO_SECRETS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert KNOWN.text(text) == (text, 0)


def test_what_surrounds_a_secret_stays() -> None:
    assert KNOWN.text(f"a {GITHUB}, b") == ("a [redacted:github-token], b", 1)
    assert KNOWN.text("x --token=abc y") == ("x --token=[redacted:secret-value] y", 1)
    assert KNOWN.text("postgres://app:hunter2@db/x") == ("postgres://app:[redacted:url-password]@db/x", 1)


def test_every_form_has_a_row() -> None:
    assert {form.name for form in FORMS} == {row.name for row in SECRETS.values()}


@pytest.mark.parametrize("row", SECRETS.values(), ids=SECRETS)
def test_record_with_a_secret_is_suspected_by_its_bytes(row: Row) -> None:
    assert KNOWN.suspects(Entry("call.outcome", {"a": row.text}).searched)
    assert KNOWN.suspects(Entry("call.outcome", {"arguments": {row.text: 1}}).searched)


@pytest.mark.parametrize("literal", [literal for form in FORMS for literal in form.literals])
def test_literal_of_a_form_is_found_in_letters_of_either_case_if_it_has_no_capitals(literal: str) -> None:
    for spelt in [literal] if has_capitals(literal) else [literal, literal.upper(), literal.title()]:
        assert KNOWN.suspects(f"x{spelt}x")


def test_usual_record_is_not_suspected() -> None:
    fields = {**CALL, "sha256": HEX, "session": "a3", "principal": "token:ci"}
    assert not KNOWN.suspects(Entry("call.outcome", fields).searched)


# What a pattern begins with and goes on with, again and again or once and then many characters that nearly fit.
REPEATED = [
    "ghp_", "ghp_" + "a" * 35 + "!", "glpat-", "xoxb-", "AKIA", "AIza", "ya29.", "-sk-", "sk-proj-", "sk-ant-api03-",
    "_sk_live_", "npm_", "hf_", "pypi-AgE", "-eyJ", "eyJaaaaaaaaa.", "eyJaaaaaaaaa.eyJaaaaaaaaaa", "\\neyJ", "[0meyJ",
    "-eyJ" * 128 + ".eyJ" + "a" * 500,
    "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----aaaaaaaaaaaaaaaa-", "-----BEGIN A ", "-----", "- ",
    "Authorization:   Bearer ", "bearer a", "://", "://a:", "://" + "a" * 255 + ":", "password=", "password=$",
    'token="', 'token="a ', "token" + " " * 16, "token=" + " " * 16, "--token=\\\\\\",
    "token=a.", "token=" + "a." * 10, "token=aaaaaaa,", "--a-", "?a-", "-a-token ", "--token ", "&", "hvs.", "SG.",
    "dop_v1_", "hooks.slack.com/services/", "secret_access_key=", "AGE-SECRET-KEY-1", "[redacted:", "\\", "key",
]  # fmt: skip
BEGINNINGS = [
    "ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA", "secret_access_key=", "AIza", "ya29.", "sk-ant-a-", "sk-proj-",
    "pypi-AgE", "dop_v1_", "SG.", "eyJ", "eyJaaaaaaaaa.eyJ", "-----BEGIN PRIVATE KEY-----\n", "Authorization: Bearer ",
    "://", "://a:", "password=", "--password ", "?token=", "--a-", 'token="', "--token '",
]  # fmt: skip
SIZE = 300_000
BOUND_S = 3.0  # a tenth of a second on a machine with nothing else to do; what grows with the square takes hours


@pytest.mark.parametrize("eager", [False, True], ids=["in a result", "in a record"])
@pytest.mark.parametrize("piece", REPEATED, ids=lambda piece: ascii(piece)[:40])
def test_hundreds_of_thousands_of_repeated_characters_take_no_time(piece: str, eager: bool) -> None:
    text = (piece * (SIZE // len(piece) + 1))[:SIZE]
    begin = time.process_time()
    KNOWN.text(text, eager=eager)
    assert time.process_time() - begin < BOUND_S


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=ascii)
def test_hundreds_of_thousands_of_characters_after_a_beginning_take_no_time(beginning: str) -> None:
    for character in "aA1-_ =\n.:/@":
        begin = time.process_time()
        KNOWN.text(beginning + character * SIZE, eager=True)
        assert time.process_time() - begin < BOUND_S, repr(character)


# --- The policy's own patterns.


@pytest.mark.parametrize(
    ("patterns", "text", "shown", "places"),
    [
        pytest.param(["cust-[0-9]+"], "a cust-12 b", "a [redacted:policy-1] b", 1, id="one"),
        pytest.param(
            ["x1", "y1"], "y1 x1 y1", "[redacted:policy-2] [redacted:policy-1] [redacted:policy-2]", 3, id="two"
        ),
        pytest.param(["(?i)hush"], "HUSH", "[redacted:policy-1]", 1, id="letters of either case"),
        pytest.param(["z*"], "azzb", "a[redacted:policy-1]b", 1, id="nothing is no match"),
        pytest.param(["^"], "ab", "ab", 0, id="a place is no match"),
        pytest.param(["bc", "abcd"], "abcde", "[redacted:policy-2]e", 1, id="one inside another"),
        pytest.param(["abc", "cde"], "abcdef", "[redacted:policy-1]f", 1, id="one that overlaps another"),
        pytest.param(["ab", "cd"], "abcd", "[redacted:policy-1][redacted:policy-2]", 2, id="one beside another"),
        pytest.param(
            ["redacted"], f"x {GITHUB}", "x [redacted:github-token]", 1, id="what stands for a secret is left"
        ),
        pytest.param(["3dE"], f"x {GITHUB}", "x [redacted:github-token]", 1, id="a part of a secret hides no less"),
    ],
)
def test_own_patterns(patterns: list[str], text: str, shown: str, places: int) -> None:
    assert Redactor(patterns).text(text) == (shown, places)


# --- Records.


def hidden(value: Any, key: str = "x", patterns: tuple[str, ...] = ()) -> Any:
    """A member of a record as it is written."""
    record = Redactor(patterns).record({"event": "call.outcome", key: value})
    Entry("call.outcome", {"x": record[key]})
    return record[key]


GONE = "[redacted:github-token]"
LONG = {**content("x" * 5000), "start": "x" * 256}


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        pytest.param("reason", f"no {GITHUB}", f"no {GONE}", id="text"),
        pytest.param("arguments", {"a": [{"b": GITHUB}]}, {"a": [{"b": GONE}]}, id="deep"),
        pytest.param("arguments", {GITHUB: 1}, {GONE: 1}, id="key of the client's"),
        pytest.param("arguments", {GITHUB: 1, GITHUB[:-1] + "A": 2}, {GONE: 1, GONE + "'": 2}, id="two such keys"),
        pytest.param("arguments", {"hash": GITHUB, "key": GITHUB}, {"hash": GONE, "key": GONE}, id="key like ours"),
        pytest.param("arguments", {"sha256": GITHUB}, {"sha256": GONE}, id="hash that is none"),
        pytest.param("commands", [{"argv": ["x", GITHUB]}], [{"argv": ["x", GONE]}], id="argument"),
        pytest.param(
            "argv", ["x", "--token", "abc"], ["x", "--token", "[redacted:secret-argument]"], id="flag and value"
        ),
        pytest.param(
            "argv", ["--account-key", "abc"], ["--account-key", "[redacted:secret-argument]"], id="flag of a key"
        ),
        pytest.param("argv", ["-password", "--x"], ["-password", "--x"], id="flag without a value"),
        pytest.param("argv", ["--db-password", ""], ["--db-password", ""], id="flag with an empty value"),
        pytest.param("argv", ["--tokens", "abc"], ["--tokens", "abc"], id="another flag"),
        pytest.param("argv", ["token", "abc"], ["token", "abc"], id="word and word"),
        pytest.param("argv", ["PGPASSWORD=abc"], ["PGPASSWORD=[redacted:secret-value]"], id="any value of a name"),
        pytest.param("paths", [{"name": f"a/{GITHUB}"}], [{"name": f"a/{GONE}"}], id="name of a file"),
        pytest.param(
            "questions", [{"what": f"run:\ncurl {JWT}"}], [{"what": "run:\ncurl [redacted:jwt]"}], id="question"
        ),
        pytest.param("client", {"name": GITHUB, "version": "1"}, {"name": GONE, "version": "1"}, id="client"),
        pytest.param("tool", GITHUB, GONE, id="tool that there is not"),
        pytest.param("arguments", {"a": LONG}, {"a": LONG}, id="beginning of a long text"),
        pytest.param(
            "arguments",
            {"a": {**LONG, "start": "see ghp_Ab"}},
            {"a": {**LONG, "start": "see [redacted:cut-text]"}},
            id="beginning with half a secret",
        ),
        pytest.param("arguments", {"a": content(GITHUB)}, {"a": content(GITHUB)}, id="contents stay hash and length"),
        pytest.param("bytes", 12, 12, id="number"),
    ],
)
def test_record_shows(key: str, value: Any, shown: Any) -> None:
    assert hidden(value, key) == shown


@pytest.mark.parametrize("flag", ["--password", "-pwd", "--db-passphrase", "--token", "--client_secret", "--api-key"])
def test_flag_before_a_secret_is_suspected_by_the_bytes_of_its_record(flag: str) -> None:
    assert hidden(["x", flag, "abc"]) == ["x", flag, "[redacted:secret-argument]"]
    assert KNOWN.suspects(Entry("call.outcome", {"argv": ["x", flag, "abc"]}).searched)


def test_value_in_quotes_is_hidden_whole_in_a_record() -> None:
    """In a result only its first word would tell a password from a label; see `test_what_is_no_secret...`."""
    for text in ('password="correct horse 9"', '{\\"token\\": \\"correct horse 9\\"}', "x --token 'correct horse 9' y"):
        shown, places = KNOWN.text(text, eager=True)
        assert places == 1
        assert "correct" not in shown
        assert "horse" not in shown


def test_record_without_a_secret_is_the_same_object() -> None:
    record = {"event": "call.outcome", "arguments": {"path": "/token", "a": ["x"]}, "rule": "preset:secrets:1"}
    assert Redactor(["zzz"]).record(record) is record


@pytest.mark.parametrize("key", ["hash", "prev", "sha256", "digest", "signature", "public_key", "key", "signed_head"])
def test_what_the_chain_rests_on_stays(key: str) -> None:
    assert hidden(HEX, key, patterns=(".+",)) == HEX
    assert hidden([{key: HEX, "name": "x"}], "paths", patterns=(".+",)) == [{key: HEX, "name": "[redacted:policy-1]"}]


def test_records_keep_the_form_of_the_schema_whatever_the_policy_hides(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    write_sample(log)
    everything = Redactor((".",))
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"call.outcome", "call.consent", "run.confined", "session.client"} <= {each["event"] for each in records}
    for record in records:
        assert not misfits(everything.record(record))


def test_hash_of_contents_stays_whatever_the_policy_hides() -> None:
    assert hidden({"content": content("x")}, "arguments", patterns=("[0-9a-f]{64}",)) == {"content": content("x")}


def test_log_is_whole_and_shows_no_secret_even_if_the_policy_hides_everything(tmp_path: Path) -> None:
    directory = private(tmp_path / "audit")
    rules = AuditRules(directory=str(directory), max_size=2000, redact=(".+",))
    log = AuditLog.open(rules, run_id="run", header={"policy": "p", "note": GITHUB})
    for number in range(20):
        log.append("call.outcome", {**CALL, "call": number, "path": f"secret {number}"})
    log.close()
    files = sorted(directory.iterdir())
    assert len(files) > 2, "it went on in further files"
    verdict = verify(str(directory))
    assert verdict.status is Status.WHOLE
    assert [len(chain.files) for chain in verdict.chains] == [len(files)]
    text = "".join(each.read_text() for each in files)
    assert "secret" not in text
    assert GITHUB not in text


def test_log_hides_known_forms_without_being_told(tmp_path: Path) -> None:
    directory = private(tmp_path / "audit")
    with_header = AuditLog.open(AuditRules(directory=str(directory)), run_id="run", header={"note": GITHUB})
    with_header.append("call.refused", {"reason": GITHUB})
    with_header.close()
    (file,) = directory.iterdir()
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [records[0]["note"], records[1]["reason"]] == [GONE, GONE]
    assert verify(str(file)).status is Status.WHOLE


@pytest.mark.parametrize("mark", ["", "/r/note-{}-", "/r/note:{}:1:"])
def test_key_whose_lines_a_search_shows_is_hidden(mark: str) -> None:
    lines = ["-----BEGIN RSA PRIVATE KEY-----", *["aB3+" * 16] * 20, "-----END RSA PRIVATE KEY-----", "end"]
    text, hidden = Redactor().text("\n".join(mark.format(number) + line for number, line in enumerate(lines, 1)))
    assert hidden == 1
    assert "aB3+" not in text
    assert text.endswith("end")
