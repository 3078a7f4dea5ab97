"""Which profile a proven caller gets, and which directory."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsserver.errors import PrincipalDenied
from fsserver.paths.root import Root
from fsserver.policy.principals import ANONYMOUS, Identity, choose, fill
from fsserver.policy.rules import Origin
from fsserver.policy.service import PrincipalRule
from fsserver.server.exchanges import Exchanges
from fsserver.transport.http.grants import Grant, Grants
from fsserver.transport.http.refusal import Refusal
from tests import trees

ISSUER = "https://id.example.org"
OTHER = "https://other.example.org"


def token(name: str = "ci") -> Identity:
    return Identity(f"token:{name}", token=name)


def person(
    subject: str | None = "abc",
    *,
    issuer: str = ISSUER,
    only: bool = True,
    more: Mapping[str, Any] = MappingProxyType({}),
    **claims: Any,
) -> Identity:
    named = MappingProxyType({"iss": issuer, "sub": subject, **claims, **more})
    return Identity(f"{issuer}#{subject}", issuer, subject, "app", claims=named, only_issuer=only)


def rule(line: int = 1, **conditions: Any) -> PrincipalRule:
    return PrincipalRule(Origin("p.yaml", line), f"profile{line}", **conditions)


# --- Which rule.


@pytest.mark.parametrize(
    ("conditions", "identity"),
    [
        pytest.param({"token": "ci"}, token(), id="token"),
        pytest.param({"anonymous": True}, ANONYMOUS, id="anonymous"),
        pytest.param({"issuer": ISSUER}, person(), id="issuer"),
        pytest.param({"subject": "abc"}, person(), id="subject"),
        pytest.param({"client": "app"}, person(), id="client"),
        pytest.param({"issuer": ISSUER, "subject": "abc", "client": "app"}, person(), id="all three"),
        pytest.param({"claims": {"team": "red"}}, person(team="red"), id="claim"),
        pytest.param({"claims": {"groups": "red"}}, person(groups=["blue", "red"]), id="one item of a list"),
        pytest.param({"claims": {"email_verified": "true"}}, person(email_verified=True), id="truth value"),
        pytest.param({"claims": {"id": "17"}}, person(id=17), id="number"),
        pytest.param({"claims": {"a": "1", "b": "2"}}, person(a="1", b="2"), id="two claims"),
    ],
)
def test_rule_whose_conditions_all_hold_is_chosen(conditions: dict[str, Any], identity: Identity) -> None:
    wanted = rule(**conditions)
    assert choose([rule(7, token="somebody-else"), wanted], identity) is wanted


@pytest.mark.parametrize(
    ("conditions", "identity"),
    [
        pytest.param({}, person(), id="no condition, person"),
        pytest.param({}, token(), id="no condition, token"),
        pytest.param({}, ANONYMOUS, id="no condition, anonymous"),
        pytest.param({"token": "ci"}, person("ci"), id="subject called like a token"),
        pytest.param({"subject": "ci"}, token("ci"), id="token called like a subject"),
        pytest.param({"token": "anonymous"}, ANONYMOUS, id="token called anonymous"),
        pytest.param({"anonymous": True}, token("anonymous"), id="anonymous is no token"),
        pytest.param({"anonymous": True}, person("anonymous"), id="anonymous is no subject"),
        pytest.param({"issuer": OTHER, "subject": "abc"}, person(), id="same subject of another issuer"),
        pytest.param({"issuer": ISSUER + "/"}, person(), id="issuer with a slash more"),
        pytest.param({"subject": "ABC"}, person(), id="other case"),
        pytest.param({"subject": "abc", "claims": {"team": "red"}}, person(), id="claim is missing"),
        pytest.param({"subject": "abc", "claims": {"team": "red"}}, person(team="blue"), id="other claim"),
        pytest.param({"claims": {"team": "re"}}, person(team="red"), id="part of a claim"),
        pytest.param({"claims": {"team": "red"}}, person(team={"red": 1}), id="key of an object"),
        pytest.param({"claims": {"team": "red"}}, person(team=[["red"]]), id="list in a list"),
        pytest.param({"claims": {"admin": "1"}}, person(admin=True), id="true is not 1"),
        pytest.param({"claims": {"team": "None"}}, person(team=None), id="null"),
        pytest.param({"claims": {"team": ""}}, person(team=None), id="empty"),
    ],
)
def test_caller_for_whom_no_rule_is_gets_nothing(conditions: dict[str, Any], identity: Identity) -> None:
    with pytest.raises(PrincipalDenied) as refused:
        choose([rule(**conditions)], identity)
    assert refused.value.code == "denied.principal"


def test_refusal_says_which_kinds_of_entries_there_are_and_nobody_elses_name() -> None:
    rules = [
        rule(1, token="secret-robot"),
        rule(2, issuer=ISSUER, subject="mallory", claims={"team": "red"}),
        rule(3, token="other-robot"),
    ]
    with pytest.raises(PrincipalDenied) as refused:
        choose(rules, person("eve", issuer=OTHER))
    message = refused.value.message
    assert (
        "There are entries that ask for: the name of a static token; an issuer and a subject and the claim team."
        in message
    )
    assert f"with an access token of {OTHER}" in message
    assert not re.search("robot|mallory|red", message)
    with pytest.raises(PrincipalDenied, match="There is no entry at all"):
        choose([], ANONYMOUS)


def test_two_rules_for_one_caller_are_refused_with_both_places() -> None:
    rules = [rule(3, issuer=ISSUER), rule(5, token="ci"), rule(8, subject="abc")]
    with pytest.raises(PrincipalDenied, match=r"p\.yaml:3, p\.yaml:8") as refused:
        choose(rules, person())
    assert refused.value.rule == "p.yaml:3"
    assert choose(rules, token()) is rules[1]


# --- Which directory.


@pytest.mark.parametrize(
    ("template", "identity", "name"),
    [
        pytest.param("${principal.name}", token("build_2"), "build_2", id="token"),
        pytest.param("${principal.name}", ANONYMOUS, "anonymous", id="anonymous"),
        pytest.param("${principal.subject}", person("a-B_3"), "a-B_3", id="subject"),
        pytest.param("${principal.client}", person(), "app", id="client"),
        pytest.param("${principal.claim.team}", person(team="red"), "red", id="claim"),
        pytest.param("${principal.claim.uid}", person(uid=1000), "1000", id="number"),
        pytest.param(
            "${principal.claim.org.example.team}", person(more={"org.example.team": "x"}), "x", id="dots in a claim"
        ),
        pytest.param("of-${principal.subject}.d", person(), "of-abc.d", id="text around"),
        pytest.param("${principal.client}.${principal.subject}", person(), "app.abc", id="two"),
        pytest.param("${principal.subject}", person("x" * 64), "x" * 64, id="64 characters"),
    ],
)
def test_directory_is_named_by_what_was_proven(template: str, identity: Identity, name: str) -> None:
    assert fill(template, identity) == name


@pytest.mark.parametrize(
    ("template", "identity"),
    [
        pytest.param("${principal.name}", person("ci"), id="name of a person, who may be called like a token"),
        pytest.param("${principal.subject}", token("abc"), id="subject of a token"),
        pytest.param("${principal.subject}", ANONYMOUS, id="subject of anybody"),
        pytest.param("${principal.subject}", person(only=False), id="subject of one of two issuers"),
        pytest.param("${principal.client}", person(only=False), id="client of one of two issuers"),
        pytest.param("${principal.claim.team}", person(only=False, team="red"), id="claim of one of two issuers"),
        pytest.param("${principal.subject}", person(None), id="no subject"),
        pytest.param("${principal.claim.team}", person(), id="no such claim"),
        pytest.param("${principal.claim.team}", person(team=["red"]), id="list"),
        pytest.param("${principal.claim.team}", person(team=True), id="truth value"),
        pytest.param("${principal.claim.team}", person(team={}), id="object"),
        pytest.param("${principal.claim.}", person(), id="claim without a name"),
        pytest.param("${principal.expires}", person(), id="no such variable"),
        pytest.param("${principal.name.x}", token(), id="name of a name"),
        pytest.param("${principal.}", person(), id="empty variable"),
        pytest.param("fixed", person(), id="no variable: everybody's"),
        pytest.param("${HOME}${principal.subject}", person(), id="variable of another kind"),
        pytest.param("${${principal.subject}}", person(), id="nested"),
        pytest.param("${principal.client}${principal.subject}", person(), id="two that touch"),
        pytest.param("${principal.client}-x_${principal.subject}", person(), id="two with a text that values may hold"),
        pytest.param("../${principal.subject}", person(), id="slash in the text"),
        pytest.param("${principal.subject}\0", person(), id="NUL in the text"),
        pytest.param("${principal.subject}" + "." * 300, person(), id="too long"),
    ],
)
def test_directory_that_might_be_another_callers_is_refused(template: str, identity: Identity) -> None:
    with pytest.raises(PrincipalDenied) as refused:
        fill(template, identity)
    assert refused.value.code == "denied.principal"


@pytest.mark.parametrize(
    "value",
    [
        "",
        ".",
        "..",
        "../other",
        "a/b",
        "/etc",
        "a b",
        "a.b",
        "a\0b",
        "a\n",
        "é",
        "a" * 65,
        "auth0|abc",
        "a@example.org",
        "~",
    ],
)
def test_value_that_is_no_plain_name_is_refused_and_not_told(value: str) -> None:
    with pytest.raises(PrincipalDenied) as refused:
        fill("${principal.subject}", person(value))
    assert len(value) < 3 or value not in refused.value.message


@given(value=st.text(), around=st.sampled_from(["{}", "of-{}", "{}.d"]))
def test_value_arrives_whole_or_is_refused(value: str, around: str) -> None:
    try:
        name = fill(around.format("${principal.subject}"), person(value))
    except PrincipalDenied:
        assert not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value)
    else:
        assert name == around.format(value)
        assert "/" not in name


PLAIN = st.text("aB1-_", min_size=1, max_size=5)


@given(parts=st.tuples(PLAIN, PLAIN, PLAIN), between=st.sampled_from([".", "-.", "@", "+", "-", "", "x"]))
def test_two_callers_never_share_a_directory(parts: tuple[str, str, str], between: str) -> None:
    """Their values are alike when they are put together."""
    one, two, three = parts
    glue = between if re.fullmatch("[A-Za-z0-9_-]*", between) else ""
    template = "${principal.subject}" + between + "${principal.claim.team}"
    callers = [person(one, team=two + glue + three), person(one + glue + two, team=three)]
    if glue == between:
        for caller in callers:
            with pytest.raises(PrincipalDenied, match="does not tell callers apart"):
                fill(template, caller)
    else:
        assert len({fill(template, caller) for caller in callers}) == 2


# --- The directory as it is.


@pytest.mark.parametrize("descriptors", [0, 1])
def test_a_directory_that_cannot_be_looked_at_now_may_be_asked_for_again(tmp_path: Path, descriptors: int) -> None:
    """With one descriptor it is opened, and nobody can tell whether it compares names without their case."""
    (tmp_path / "ci").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        root = held.enter_context(closing(Root.open(replace(trees.rules(tmp_path), each="${principal.name}"))))
        grants = Grants([rule(token="ci")], {"profile1": Grant(Exchanges.__new__(Exchanges), (root,))})
        free = [os.dup(0) for _ in range(descriptors + 1)]
        for each in free:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], hard))
        try:
            with pytest.raises(Refusal) as caught:
                grants.of(token())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
        (opened,) = grants.of(token())[1].roots
        held.enter_context(closing(opened))
        (tmp_path / "ci").rmdir()
        with pytest.raises(Refusal) as absent:
            grants.of(token())
        assert absent.value.status == 403
