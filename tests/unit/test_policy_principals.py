"""``principals``: who gets which profile, and rules that can hold for nobody or for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsserver.policy.problems import PolicyErrors
from fsserver.policy.service import PrincipalRule
from tests.policy_files import Desk, desk_in

ISSUER = "https://id.example.org"
OTHER = "https://other.example.org"
AUTHS = {
    "none": "none",
    "tokens": "{tokens: /keys/t}",
    "oauth": f'{{oauth: [{{issuer: "{ISSUER}", audience: a}}]}}',
    "both": f'{{tokens: /keys/t, oauth: [{{issuer: "{ISSUER}", audience: a}}]}}',
    "two": f'{{oauth: [{{issuer: "{ISSUER}", audience: a}}, {{issuer: "{OTHER}", audience: a}}]}}',
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path)


def policy(auth: str, *principals: str) -> str:
    written = f"principals: [{', '.join(principals)}]\n" if principals else ""
    return (
        "version: 1\nroots: {app: {path: ~/app}}\nprofiles: {reader: {roots: {app: ro}}}\n"
        f"server: {{transport: http, auth: {AUTHS[auth]}}}\n{written}"
    )


def test_every_condition_arrives_with_its_place(desk: Desk) -> None:
    claims = '{team: tools, "https://example.org/role": admin}'
    rules = desk.load(
        policy(
            "both",
            "{when: {token: ci}, profile: reader}",
            f'{{when: {{issuer: "{ISSUER}", subject: ada, client: ide, claim: {claims}}}}}',
        )
    ).principals
    ci, ada = rules
    assert ci == PrincipalRule(ci.origin, profile="reader", token="ci")
    assert ada == PrincipalRule(
        ada.origin,
        issuer=ISSUER,
        subject="ada",
        client="ide",
        claims={"team": "tools", "https://example.org/role": "admin"},
    )
    assert str(ci.origin) == "policy.yaml:5"


def test_anybody_may_have_less_than_the_whole_policy(desk: Desk) -> None:
    (rule,) = desk.load(policy("none", "{when: {anonymous: true}, profile: reader}")).principals
    assert rule == PrincipalRule(rule.origin, profile="reader", anonymous=True)


@pytest.mark.parametrize(
    ("auth", "principal", "problem"),
    [
        pytest.param("tokens", "", "E011 4:33 nobody would be served", id="no principals"),
        pytest.param(
            "tokens", "{when: {token: a}, profile: reade}", 'E043 5:42 there is no profile "reade"', id="profile"
        ),
        pytest.param(
            "tokens", "{when: {}}", "E011 5:21 without a condition this would be everybody", id="no condition"
        ),
        pytest.param("oauth", "{when: {claim: {}}}", "E011 5:21 without a condition this would be", id="no claim"),
        pytest.param(
            "tokens", "{profile: reader}", 'E011 5:14 an item of "principals" needs the key when', id="no when"
        ),
        pytest.param("tokens", "{when: {anonymous: true}}", "E022 5:22 nobody is anonymous here", id="anonymous"),
        pytest.param("none", "{when: {anonymous: false}}", "E022 5:22 nobody has to be other than", id="not anonymous"),
        pytest.param(
            "none", "{when: {token: a, anonymous: true}}", "E022 5:32 of somebody anonymous nothing else", id="and more"
        ),
        pytest.param(
            "none", "{when: {token: a}}", "E022 5:22 nobody can have this: server.auth has no `tokens`", id="off"
        ),
        pytest.param(
            "oauth", "{when: {token: a}}", "E022 5:22 nobody can have this: server.auth has no", id="no tokens"
        ),
        pytest.param(
            "tokens",
            "{when: {subject: a}}",
            "E022 5:22 nobody can have this: server.auth has no `oauth`",
            id="no oauth",
        ),
        pytest.param(
            "both", "{when: {token: a, subject: a}}", "E022 5:22 a static token has nothing of an access", id="of both"
        ),
        pytest.param(
            "oauth", f'{{when: {{issuer: "{OTHER}"}}}}', "E022 5:30 server.auth.oauth does not have this", id="issuer"
        ),
        pytest.param(
            "oauth",
            f'{{when: {{issuer: "{ISSUER}/"}}}}',
            "E022 5:30 server.auth.oauth does not",
            id="nearly the issuer",
        ),
        pytest.param("two", "{when: {subject: a}}", "E011 5:21 several issuers can say this of different", id="whose"),
        pytest.param("oauth", "{when: {claim: {n: 1}}}", 'E013 5:33 "n" must be text, not a number', id="number"),
        pytest.param("oauth", '{when: {claim: {"a b": c}}}', 'E015 5:30 "a b" is not the name of a claim', id="claim"),
        pytest.param("tokens", "{when: {tokn: a}}", 'E010 5:22 unknown key "tokn" in "when"', id="unknown"),
    ],
)
def test_a_principal_that_is_not_right(desk: Desk, auth: str, principal: str, problem: str) -> None:
    with pytest.raises(PolicyErrors) as caught:
        desk.load(policy(auth, *([principal] if principal else [])))
    (found,) = caught.value.problems
    assert f"{found.code} {found.line}:{found.column} {found.message}".startswith(problem)
    assert found.help or found.code == "E011"


def test_conditions_that_are_there_twice_would_let_nobody_in(desk: Desk) -> None:
    (problem,) = desk.problems(policy("tokens", "{when: {token: a}}", "{profile: reader, when: {token: a}}"))
    assert problem.startswith("E022 5:58 these conditions are there twice, and whoever two entries mean is refused")


def test_the_nearest_issuer_and_profile_are_offered(desk: Desk) -> None:
    with pytest.raises(PolicyErrors) as caught:
        desk.load(policy("oauth", f'{{when: {{issuer: "{ISSUER}/"}}, profile: readers}}'))
    assert {problem.help for problem in caught.value.problems} == {
        f'did you mean "{ISSUER}"?',
        'did you mean "reader"?',
    }
