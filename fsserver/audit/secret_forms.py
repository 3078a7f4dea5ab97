r"""Forms of secrets that can be told from other text: what issuers put into them so that scanners find them.

The sources are the issuers' own pages on token formats and, where there are none, what they issue: GitHub "token
formats", GitLab "token overview", Slack "token types", AWS "IAM identifiers", RFC 7468 (PEM), RFC 7519 (JWT), RFC 6750
(Bearer), RFC 7617 (Basic), RFC 3986 (userinfo).

*Trust.* The text is hostile, and so is what a match costs. *Invariant.* Each pattern takes time linear in the text:
it begins with a literal or behind a border; a repetition is bounded, or is of one class of characters that what comes
after it does not begin with, or nothing after it can fail. So no text makes a record late.

*What it is not.* A secret without a form of its own, or one that is split, encoded or cut, is not found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final


@dataclass(frozen=True)
class Form:
    """One form of secrets.

    Attributes:
        name: kebab-case; stands in the text instead of the secret.
        literals: one of them is in every text that holds the form; in letters of either case, if it has no capitals.
        source: a regular expression. What is hidden is its group ``secret``, or all of it where it has no such group.
        eager_source: the same where hiding too much does no harm, as in a record; None: no other.
    """

    name: str
    literals: tuple[str, ...]
    source: str
    eager_source: str | None = None

    # Compiled when a text has one of the literals: few servers ever need all of them, and each start would wait.
    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.source, re.ASCII)

    @cached_property
    def eager(self) -> re.Pattern[str]:
        return self.pattern if self.eager_source is None else re.compile(self.eager_source, re.ASCII)


def _form(name: str, literals: str, source: str, eager: str | None = None) -> Form:
    return Form(name, tuple(literals.split(" ")), source, eager)


def _apart(prefix: str, width: int, inside: str = "[A-Za-z0-9]") -> str:
    r"""``prefix``, a pattern of so many characters, where no character of ``inside`` stands before it but one that ends
    an escape: ``\n``, ``\x0d``, ``\u003d``, ``%3D``, or the colour of a terminal, ``[32m``.

    The border is looked at after the prefix, so that the prefix can be searched for as a literal.
    """
    then = f".{{{width}}}"
    escapes = (r"\\[nrtbf]", r"\\x[0-9a-f]{2}", r"\\u[0-9a-fA-F]{4}", r"%[0-9A-Fa-f]{2}", r"[0-9\[]m")
    behind = "|".join(f"(?<={escape}{then})" for escape in escapes)
    return f"{prefix}(?:(?<!{inside}{then})|{behind})"


_MIXED = "(?=[a-z_.-]{0,39}[A-Z0-9])"  # no words: a capital or a digit soon
_WORD = r"[A-Za-z0-9_-]"

_PEM_LABEL = "[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PEM_BODY = "[^-]*(?:-(?!----)[^-]*)*"
_PEM_LINE = r"(?:\\[nr]|[\s\\]){0,8}[A-Za-z0-9+/=]{16,}"
# Up to the end mark, before which a search may have put a dash of its own; without one, which may be cut off, as long
# as lines of base64 follow.
_PRIVATE_KEY = (
    f"-----BEGIN {_PEM_LABEL}"
    f"(?:(?=(?:[^-]|-(?!----)){{0,300}}?[A-Za-z0-9+/=]{{16}}){_PEM_BODY}-?-----END {_PEM_LABEL}"
    rf"|(?:{_PEM_LINE})+(?:\\[nr]|\s){{0,8}}[A-Za-z0-9+/=]{{0,15}})"
)

_KEYWORD = (
    "(?i:passw(?:or)?d|passphrase|pwd|token|secret|(?:api|access|account|secret|auth|encryption|signing)[_-]?key|"
    "x-amz-signature)"
)
_KEYWORD_LITERALS = "passw passphrase pwd token secret key x-amz-signature"
_VALUE = r"[^\s\"'`&;,|<>(){}\[\]$\\]"
# The quotes may be escaped, as in JSON within JSON; a value may be aligned with those of other lines.
_QUOTE = r"(?:\\{0,3}[\"'])?"
_SPACE = r"(?:[ \t]{0,16}|\s{0,2})"
_SEPARATOR = rf"{_QUOTE}{_SPACE}[=:]{_SPACE}{_QUOTE}"
# In quotes with its spaces.
_ANY_VALUE = rf"(?P<secret>(?<=[\"'])(?!\[redacted:)[^\"'\n\\]{{1,512}}(?=\\{{0,3}}[\"'])|{_VALUE}+)"
# In a text that somebody goes on to work with: no paths, small numbers, dotted names, calls, words before a bracket or
# a comma unless they are long, nor anything else without a digit or a sign.
_NO_CODE = (
    rf"(?!(?:\.{{0,2}}|~)/|[0-9]{{1,9}}(?!{_VALUE})|[A-Za-z_]\w{{0,63}}(?:\.[A-Za-z_]\w{{0,63}}){{1,8}}(?!{_VALUE})"
    r"|[\w.]{1,64}[(\[{]|[\w.]{1,64}[),](?<!\w{24}.))"
    rf"(?=[A-Za-z_.]{{0,63}}(?:[0-9]|[!@#%^*+/~:=-]))(?={_VALUE}{{6}})"
)
_FLAG = rf"(?<![\w-])--?(?:[A-Za-z0-9]{{1,20}}[-_]){{0,4}}{_KEYWORD}"

FORMS: Final[tuple[Form, ...]] = (
    _form("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,}"),
    _form("github-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{40,}"),
    _form(
        "gitlab-token",
        "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct-",
        rf"gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-{_MIXED}{_WORD}{{20,}}(?:\.{_WORD}{{2,64}}){{0,3}}",
    ),
    _form("slack-token", "xox xapp-", rf"(?:xox[abcdeoprs]-|xapp-[0-9]-)(?=[a-z-]{{0,39}}[A-Z0-9]){_WORD}{{16,}}"),
    _form("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/]{20,}"),
    _form(
        "aws-access-key-id",
        "AKIA ASIA",
        rf"(?:{_apart('AKIA', 4)}|{_apart('ASIA', 4)})[A-Z0-9]{{16}}(?![A-Za-z0-9])",
    ),
    _form(
        "aws-secret-key",
        "secret_access_key secretaccesskey",
        rf"(?i:secret_?access_?key){_SEPARATOR}(?P<secret>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
    ),
    _form("google-api-key", "AIza", rf"AIza{_WORD}{{35}}(?!{_WORD})"),
    _form("google-token", "ya29.", rf"{_apart('ya29[.]', 5)}{_MIXED}[A-Za-z0-9_.-]{{20,}}"),
    _form("google-client-secret", "GOCSPX-", rf"GOCSPX-{_WORD}{{28}}"),
    _form(
        "anthropic-key", "sk-ant-", rf"{_apart('sk-', 3)}ant-[a-z0-9]{{2,16}}-(?=[a-z_-]{{0,39}}[A-Z0-9]){_WORD}{{32,}}"
    ),
    _form(
        "openai-key",
        "sk-",
        rf"{_apart('sk-', 3)}(?:(?:proj|svcacct|admin|None)-{_MIXED}{_WORD}{{20,}}"
        rf"|(?:or-v1-)?{_MIXED}[A-Za-z0-9]{{32,}})",
    ),
    _form("stripe-key", "k_live_ k_test_", rf"{_apart('[sr]k_', 3)}(?:live|test)_{_MIXED}[A-Za-z0-9]{{16,}}"),
    _form("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _form("pypi-token", "pypi-AgE", rf"pypi-AgE{_WORD}{{50,}}"),
    _form("hugging-face-token", "hf_", rf"{_apart('hf_', 3)}[A-Za-z0-9]{{34,}}"),
    _form("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _form("docker-token", "dckr_pat_", rf"dckr_pat_{_WORD}{{27,}}"),
    _form("sendgrid-key", "SG.", rf"{_apart('SG[.]', 3)}{_WORD}{{22}}\.{_WORD}{{43}}"),
    _form("vault-token", "hvs. hvb. hvr.", rf"{_apart('hv[sbr][.]', 4)}{_MIXED}{_WORD}{{24,}}"),
    _form("fsserver-token", "fss_", rf"fss_{_WORD}{{43}}(?!{_WORD})"),
    _form("age-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    # Of any length only at the start of a run: tried at each place of one, it would take time with the square of that.
    _form("jwt", "eyJ", rf"{_apart('eyJ', 3, _WORD)}{_WORD}{{8,}}\.eyJ{_WORD}{{8,}}\.{_WORD}*"),
    _form("jwt", "eyJ", rf"{_apart('eyJ', 3)}{_WORD}{{8,512}}\.eyJ{_WORD}{{8,}}\.{_WORD}*"),
    _form("private-key", "-----BEGIN", _PRIVATE_KEY),
    _form(
        "authorization",
        "authoriz",
        r"(?i:authorization)[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?i:bearer|basic|token|digest|apikey|negotiate)\s{1,4}"
        r"(?P<secret>(?=[a-z._~+/-]{0,39}[A-Z0-9=])[A-Za-z0-9._~+/=-]{8,})",
    ),
    _form(
        "authorization",
        "bearer",
        r"(?i:bearer)\s{1,4}(?P<secret>(?=[a-z._~+/-]{0,39}[A-Z0-9=])[A-Za-z0-9._~+/=-]{16,})",
    ),
    _form(
        "url-password",
        "://",
        r"://[^\s/:@?#\"'<>\[\]]{0,256}:(?P<secret>(?![$<{])[^\s/\"'<>\[\]]{1,256})@",
    ),
    _form(
        "secret-value",
        _KEYWORD_LITERALS,
        rf"{_KEYWORD}{_SEPARATOR}{_NO_CODE}(?P<secret>{_VALUE}+)",
        eager=rf"{_KEYWORD}{_SEPARATOR}{_ANY_VALUE}",
    ),
    # The same in an address or as a flag, where a value of any kind is one.
    _form(
        "secret-value", _KEYWORD_LITERALS, rf"[?&](?:[A-Za-z0-9]{{1,20}}[-_]){{0,4}}{_KEYWORD}=(?P<secret>{_VALUE}+)"
    ),
    _form("secret-value", "sig=", rf"[?&]sig=(?P<secret>{_VALUE}{{16,}})"),
    _form("secret-value", _KEYWORD_LITERALS, rf"{_FLAG}={_QUOTE}{_ANY_VALUE}"),
    _form(
        "secret-value",
        _KEYWORD_LITERALS,
        rf"{_FLAG} {{1,4}}[\"']?{_NO_CODE}(?P<secret>{_VALUE}+)",
        eager=rf"{_FLAG} {{1,4}}{_QUOTE}{_ANY_VALUE}",
    ),
)

SECRET_FLAG: Final = re.compile(rf"--?(?:[A-Za-z0-9]{{1,20}}[-_]){{0,4}}{_KEYWORD}", re.ASCII)
"""A whole argument after which the next one is a secret."""

# Characters by how seldom they are in a record's texts, the rarest first, after capitals. Most of these are names, with
# their slashes, dots and dashes, and the letters of hexadecimal digits are all over hashes.
_RARE: Final = "=:jzkxqwyvgh~-_ ./mpulrsniotbdfcea0123456789"


def prefilter(literals: tuple[str, ...]) -> str:
    """A pattern that finds any of ``literals``, as `Form` has them, in one pass.

    Each is looked for by its rarest character, since a pattern that begins with one of few characters is searched for
    several times as fast as one that begins with any.
    """
    found: dict[str, list[str]] = {}
    for literal in sorted(set(literals)):
        if any(other != literal and other in literal for other in literals):
            continue  # found by the shorter one
        spell = re.escape if has_capitals(literal) else _either_case
        at = min(range(len(literal)), key=lambda place: _RARE.find(literal[place]))
        before, rest = spell(literal[:at]), spell(literal[at + 1 :])
        for anchor in {literal[at], literal[at] if has_capitals(literal) else literal[at].upper()}:
            spelt = re.escape(anchor)
            found.setdefault(spelt, []).append((f"(?<={before}{spelt})" if before else "") + rest)
    return "|".join(f"{anchor}(?:{'|'.join(ways)})" for anchor, ways in sorted(found.items()))


def has_capitals(literal: str) -> bool:
    """Whether a literal stands for itself only."""
    return literal != literal.lower()


def _either_case(literal: str) -> str:
    return "".join(f"[{each}{each.upper()}]" if each.isalpha() else re.escape(each) for each in literal)
