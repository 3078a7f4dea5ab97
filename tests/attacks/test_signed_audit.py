"""Attacks on a signed log, by somebody who can write to its file and who has the key, another key, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fsserver.audit.chain import START
from fsserver.audit.signing import Signer
from fsserver.audit.verify import Chain, Status, verify
from tests.audit_logs import CALL, place_of, sealed, signature, signed, start_of

Lines = list[bytes]
Changes = Mapping[int, Mapping[str, Any]]
CHECKPOINT, LAST_CHECKPOINT, END = 4, 8, 11  # of a log as `signed` makes it, from 0

KEY, OTHER_KEY = (Signer(Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32))) for seed in (1, 2))


def fields_of(line: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(line).items() if name not in ("hash", "prev", "seq")}


def anew(lines: Lines, signer: Signer | None = None, changes: Changes | None = None) -> Lines:
    """The records with new numbers and hashes, as who writes a log anew makes them; `changes` by place, from 0.

    With a signer every signature is made anew too; without, it stays as it was.
    """
    done: Lines = []
    for place, line in enumerate(lines):
        after = place_of(done[-1]) if done else START
        fields = {**fields_of(line), **(changes or {}).get(place, {})}
        if signer is not None and "signature" in fields:
            fields |= signature(signer, after, str(fields["event"]))
        done.append(sealed([fields], after))
    return done


def without_signatures(lines: Lines) -> Lines:
    return [line for line in lines if b'"signature"' not in line]


def places_corrected(lines: Lines, changes: Changes) -> Lines:
    """As `anew`, and each signing record says the place that it is at, with the signature that it had."""
    done: Lines = []
    for place, line in enumerate(lines):
        after = place_of(done[-1]) if done else START
        fields = {**fields_of(line), **changes.get(place, {})}
        if "signature" in fields:
            fields |= {"signed_seq": after.seq, "signed_head": after.head}
        done.append(sealed([fields], after))
    return done


def cut_and_ended(lines: Lines, fields: Mapping[str, Any]) -> Lines:
    return [*lines, sealed([{"event": "run.end", **fields}], place_of(lines[-1]))]


FALSE = {2: {"bytes": 99}}
WHOLE, TAMPERED, CUT, TORN = Status.WHOLE, Status.TAMPERED, Status.CUT, Status.TORN

# What is done to a signed log; `other` is another log by the same key. Then what verify says: alone, with the public
# key, and with the log's own last head.
TAMPERING: dict[str, tuple[Callable[[Lines, Lines], Lines], Status, Status, Status]] = {
    "nothing is done": (lambda log, _: log, WHOLE, WHOLE, WHOLE),
    "a value is changed": (
        lambda log, _: [*log[:2], log[2].replace(b":12", b":13"), *log[3:]], TAMPERED, TAMPERED, TAMPERED),
    "a signature is changed": (
        lambda log, _: [*log[:4], log[4].replace(b'"signature":"', b'"signature":"A'), *log[5:]],
        TAMPERED, TAMPERED, TAMPERED),
    "a record is deleted": (lambda log, _: [*log[:2], *log[3:]], TAMPERED, TAMPERED, TAMPERED),
    "two records are swapped": (lambda log, _: [log[0], log[2], log[1], *log[3:]], TAMPERED, TAMPERED, TAMPERED),
    "a record is duplicated": (lambda log, _: [*log[:3], log[2], *log[3:]], TAMPERED, TAMPERED, TAMPERED),
    "another log is spliced on": (lambda log, other: [*log[:6], *other[6:]], TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint is deleted": (lambda log, _: [*log[:4], *log[5:]], TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint is duplicated": (lambda log, _: [*log[:5], log[4], *log[5:]], TAMPERED, TAMPERED, TAMPERED),
    "the tail is cut inside a record": (lambda log, _: [*log[:6], log[6][:50]], TORN, TORN, CUT),
    "the tail is cut after a signature": (lambda log, _: log[:7], WHOLE, WHOLE, CUT),
    "the tail is cut before the first signature": (lambda log, _: log[:3], WHOLE, CUT, CUT),
    "a record is changed, the rest hashed anew": (
        lambda log, _: anew(log, changes=FALSE), TAMPERED, TAMPERED, TAMPERED),
    "and the places in the checkpoints are made to fit": (
        lambda log, _: places_corrected(log, FALSE), TAMPERED, TAMPERED, TAMPERED),
    "and what is signed is removed": (
        lambda log, _: anew(without_signatures(log), changes=FALSE), WHOLE, CUT, CUT),
    "a record after a signature is changed, and what is signed later removed": (
        lambda log, _: [*log[:5], *chained(log[4], without_signatures(log[6:]))], WHOLE, WHOLE, CUT),
    "a checkpoint is removed, the rest hashed anew": (
        lambda log, _: anew([*log[:4], *log[5:]]), TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint is copied to a later place": (
        lambda log, _: [*log[:7], *chained(log[6], [log[4]])], TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint has the signature of another place": (
        lambda log, _: [
            *log[:8], *chained(log[7], [with_fields(log[8], signature=fields_of(log[4])["signature"])])],
        TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint of another log by the same key is put in": (
        lambda log, other: [*log[:4], *chained(log[3], [other[4]])], TAMPERED, TAMPERED, TAMPERED),
    "a checkpoint is signed by another key": (
        lambda log, _: [*log[:4], *chained(log[3], [with_fields(log[4], **signature(OTHER_KEY, place_of(log[3])))])],
        TAMPERED, TAMPERED, TAMPERED),
    "and says that it is by the right one": (
        lambda log, _: [
            *log[:4],
            *chained(log[3], [with_fields(log[4], signature=OTHER_KEY.sign("log.checkpoint", *place_of(log[3])))])],
        TAMPERED, TAMPERED, TAMPERED),
    "the run ends without a signature": (
        lambda log, _: cut_and_ended(log[:7], {}), TAMPERED, TAMPERED, TAMPERED),
    "the first record names another key, the rest is hashed anew": (
        lambda log, _: places_corrected(
            log, {0: {"key": OTHER_KEY.public.id, "public_key": OTHER_KEY.public.text}}), TAMPERED, TAMPERED, TAMPERED),
    "everything is written anew without a key": (
        lambda log, _: [sealed([{"event": "run.start"}, CALL, {"event": "run.end"}])], WHOLE, CUT, CUT),
    "everything is written anew with another key": (
        lambda log, _: signed(OTHER_KEY), WHOLE, TAMPERED, CUT),
    "everything is written anew with the key": (lambda log, _: anew(log, KEY, FALSE), WHOLE, WHOLE, CUT),
    "the key of a run is not its own, its signatures are": (
        lambda log, _: signed(KEY, start_of(OTHER_KEY)), TAMPERED, WHOLE, TAMPERED),
}  # fmt: skip


def chained(after: bytes, lines: Lines) -> Lines:
    """The records, hashed anew, in the place after the line `after`."""
    done: Lines = []
    for line in lines:
        done.append(sealed([fields_of(line)], place_of(done[-1] if done else after)))
    return done


def with_fields(line: bytes, **fields: Any) -> bytes:
    return sealed([{**fields_of(line), **fields}])


@pytest.mark.claim("C6")
@pytest.mark.parametrize("name", TAMPERING)
def test_what_is_done_to_a_signed_log_gives_its_documented_verdict(tmp_path: Path, name: str) -> None:
    change, alone, with_key, with_head = TAMPERING[name]
    log, other = signed(KEY), signed(KEY, start_of(KEY, run="other"))
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(change(list(log), list(other))))
    for place in (str(path), str(tmp_path)):
        assert verify(place).status is alone
        assert verify(place, keys=[KEY.public]).status is with_key
        assert verify(place, place_of(log[END]).head).status is with_head


def chain_of(tmp_path: Path, lines: Lines, *keys: Signer) -> Chain:
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    (chain,) = verify(str(tmp_path / "log.jsonl"), keys=[key.public for key in keys]).chains
    return chain


@pytest.mark.parametrize("trusted", [[], [KEY], [OTHER_KEY, KEY]], ids=["its own key", "the key", "one of two keys"])
@pytest.mark.parametrize(("length", "up_to"), [(4, 0), (5, 4), (8, 4), (9, 8), (11, 8), (12, 11)])
def test_it_is_told_up_to_where_a_log_is_signed(tmp_path: Path, trusted: list[Signer], length: int, up_to: int) -> None:
    chain = chain_of(tmp_path, signed(KEY)[:length], *trusted)
    assert (chain.signed, chain.signed_by, chain.last.seq) == (up_to, [KEY.public.id] if up_to else [], length)
    assert chain.promised


def test_a_checkpoint_cannot_be_made_the_end_of_a_run(tmp_path: Path) -> None:
    log = signed(KEY)
    ended = cut_and_ended(log[:8], signature(KEY, place_of(log[7])))
    assert fields_of(ended[-1])["signature"] == fields_of(log[LAST_CHECKPOINT])["signature"]
    chain = chain_of(tmp_path, ended, KEY)
    assert (chain.status, chain.last.seq) == (TAMPERED, 8)


def test_a_run_without_a_key_after_one_with_a_key_is_not_signed(tmp_path: Path) -> None:
    log = signed(KEY)
    more = chained(log[-1], [sealed([{"event": "run.start"}]), sealed([CALL]), sealed([{"event": "run.end"}])])
    chain = chain_of(tmp_path, log + more, KEY)
    assert (chain.status, chain.signed, chain.last.seq, chain.runs) == (WHOLE, 11, 15, 2)


def test_a_run_is_signed_by_its_own_key_and_not_by_that_of_the_run_before(tmp_path: Path) -> None:
    log = signed(KEY)
    start = sealed([start_of(OTHER_KEY)], place_of(log[-1]))
    for signer, alone in ((OTHER_KEY, WHOLE), (KEY, TAMPERED)):
        end = sealed([{"event": "run.end", **signature(signer, place_of(start), "run.end")}], place_of(start))
        assert chain_of(tmp_path, [*log, start, end]).status is alone
        assert chain_of(tmp_path, [*log, start, end], KEY, OTHER_KEY).status is WHOLE
    assert chain_of(tmp_path, [*log, start, end], OTHER_KEY).status is TAMPERED


START_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no public key": ({"public_key": None}, "names a key that is none"),
    "a key id that is no text": ({"key": ["a"]}, "names a key that is none"),
    "a public key that is no key": ({"public_key": "AAAA"}, "the first record of its run names a key that is none"),
    "a public key that is not base64": ({"public_key": "\n"}, "the first record of its run names a key that is none"),
    "the id of another key": ({"key": OTHER_KEY.public.id}, "the first record of its run does not name"),
    "no key": ({"key": None, "public_key": None}, "the first record of its run does not name"),
}
SIGNING_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no signature": ({"signature": None}, "is not signed"),
    "a signature that is no text": ({"signature": 1}, "is not signed"),
    "a signature that is not base64": ({"signature": "\u00e9"}, "that its key did not make"),
    "half a signature": ({"signature": "AAAA"}, "that its key did not make"),
    "a place that is no number": ({"signed_seq": "4"}, "for another place"),
    "the place after": ({"signed_seq": 5}, "for another place"),
    "no hash": ({"signed_head": None}, "for another place"),
    "no key": ({"key": None}, "does not name|another key"),
    "a key that is no text": ({"key": {}}, "does not name|another key"),
}


@pytest.mark.parametrize("case", START_FIELDS)
def test_a_run_that_does_not_name_its_key_as_one_is_named_is_tampered(tmp_path: Path, case: str) -> None:
    fields, reason = START_FIELDS[case]
    chain = chain_of(tmp_path, anew(signed(KEY, start_of(KEY, **fields)), KEY))
    assert chain.status is TAMPERED
    assert chain.problem is not None
    assert reason in chain.problem.reason


@pytest.mark.parametrize("trusted", [[], [KEY]], ids=["its own key", "the key"])
@pytest.mark.parametrize("event", ["log.checkpoint", "run.end"])
@pytest.mark.parametrize("case", SIGNING_FIELDS)
def test_a_record_that_does_not_sign_as_it_should_is_named(
    tmp_path: Path, case: str, event: str, trusted: list[Signer]
) -> None:
    fields, reason = SIGNING_FIELDS[case]
    log = signed(KEY)[:4]
    bad = sealed([{"event": event, **signature(KEY, place_of(log[-1]), event), **fields}], place_of(log[-1]))
    chain = chain_of(tmp_path, [*log, bad], *trusted)
    assert (chain.status, chain.last.seq, chain.signed) == (TAMPERED, 4, 0)
    assert chain.problem is not None
    assert (chain.problem.file, chain.problem.line, chain.problem.seq) == ("log.jsonl", 5, 5)
    assert any(part in chain.problem.reason for part in reason.split("|"))


# --- Several files.


def two_files(directory: Path) -> list[Lines]:
    """One run in two files, each with a checkpoint."""
    first = signed(KEY)[:5]
    first.append(sealed([{"event": "log.rotated", "next": "log.0002.jsonl"}], place_of(first[-1])))
    second = [sealed([{"event": "log.continued", "previous": "log.jsonl"}], place_of(first[-1]))]
    second.append(
        sealed([{"event": "run.end", **signature(KEY, place_of(second[-1]), "run.end")}], place_of(second[-1]))
    )
    for name, lines in (("log.jsonl", first), ("log.0002.jsonl", second)):
        (directory / name).write_bytes(b"".join(lines))
    return [first, second]


def test_a_signature_covers_the_files_before_it(tmp_path: Path) -> None:
    two_files(tmp_path)
    (chain,) = verify(str(tmp_path), keys=[KEY.public]).chains
    assert (chain.status, chain.signed, chain.last.seq) == (WHOLE, 7, 8)


@pytest.mark.parametrize(("name", "status"), [("log.jsonl", TAMPERED), ("log.0002.jsonl", CUT)])
def test_a_file_of_a_signed_log_that_is_missing_is_noticed(tmp_path: Path, name: str, status: Status) -> None:
    two_files(tmp_path)
    (tmp_path / name).unlink()
    assert verify(str(tmp_path)).status is status
    assert verify(str(tmp_path), keys=[KEY.public]).status is status


def test_signatures_in_the_middle_are_checked_as_soon_as_there_is_a_key(tmp_path: Path) -> None:
    _, second = two_files(tmp_path)
    path = tmp_path / "log.0002.jsonl"
    (alone,) = verify(str(path)).chains
    assert (alone.status, alone.unchecked, alone.signed) == (WHOLE, 1, 0)
    (checked,) = verify(str(path), keys=[KEY.public]).chains
    assert (checked.status, checked.unchecked, checked.signed) == (WHOLE, 0, 7)
    path.write_bytes(second[0] + with_signature(second, OTHER_KEY.sign("log.checkpoint", *place_of(second[0]))))
    assert verify(str(path), keys=[KEY.public]).status is TAMPERED


def with_signature(lines: Lines, text: str) -> bytes:
    return sealed([{**fields_of(lines[1]), "signature": text}], place_of(lines[0]))


ODD_VALUES: list[Any] = [[], {}, 1, None, True, ["run.start"], [1, {}, []]]


@pytest.mark.parametrize("value", ODD_VALUES, ids=str)
def test_values_of_another_kind_than_expected_do_no_harm(tmp_path: Path, value: Any) -> None:
    start = sealed([{"event": "run.start"}])
    for event in ({"event": value, "files": {}, "key": []}, {"event": "log.removed", "files": value}):
        assert chain_of(tmp_path, [start, sealed([event], place_of(start))]).status is WHOLE


def test_a_copy_of_one_run_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    first, second = (b"".join(signed(KEY, start_of(KEY, run=run))) for run in ("r1", "r2"))
    (tmp_path / "1.jsonl").write_bytes(first)
    (tmp_path / "2.jsonl").write_bytes(second)
    assert verify(str(tmp_path), keys=[KEY.public]).status is WHOLE
    (tmp_path / "2.jsonl").write_bytes(first)
    verdict = verify(str(tmp_path), keys=[KEY.public])
    assert [chain.status for chain in verdict.chains] == [WHOLE, TAMPERED]
    assert verdict.chains[1].problem is not None
    assert "is the first of '1.jsonl' too" in verdict.chains[1].problem.reason
