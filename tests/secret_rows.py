"""What is a secret and what is none, by name. Each secret is put together here from pieces that are none, so that no
scanner of repositories takes this file for a leak.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

MIXED = "Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z"
HEX = hashlib.sha256(b"row").hexdigest()
UPPER = "IOSFODNN7EXAMPLE"
BASE64 = base64.b64encode(hashlib.sha512(b"row").digest()).decode()
LINES = "\n".join(BASE64[at : at + 40] for at in range(0, 80, 40))
PEM = "-----{} {}PRIVATE KEY-----"


class Row(NamedTuple):
    """A text, the part of it that must not be shown, and the name that stands there instead."""

    text: str
    secret: str
    name: str


def _whole(name: str, secret: str) -> Row:
    return Row(f"before {secret} after", secret, name)


def _pem(kind: str, body: str, end: bool = True) -> str:
    return PEM.format("BEGIN", kind) + "\n" + body + ("\n" + PEM.format("END", kind) if end else "")


JWT = "ey" + "JhbGciOiJIUzI1NiJ9." + "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + MIXED[:43]
GITHUB = "gh" + "p_" + MIXED[:36]

SECRETS: dict[str, Row] = {
    "GitHub personal token": _whole("github-token", GITHUB),
    "GitHub OAuth token": _whole("github-token", "gh" + "o_" + MIXED[:36]),
    "GitHub user token": _whole("github-token", "gh" + "u_" + MIXED[:36]),
    "GitHub server token": _whole("github-token", "gh" + "s_" + MIXED[:36]),
    "GitHub refresh token": _whole("github-token", "gh" + "r_" + MIXED[:76]),
    "GitHub fine-grained token": _whole("github-token", "github" + "_pat_" + MIXED[:22] + "_" + MIXED[:59]),
    "GitHub token in an assignment of code": Row(f'token = "{GITHUB}"', GITHUB, "github-token"),
    "GitHub token behind an escaped line end": Row(f"a\\n{GITHUB}", GITHUB, "github-token"),
    "GitHub token beside letters that are not ASCII": Row(f"é{GITHUB}é", GITHUB, "github-token"),
    "GitHub token as a user in an address": Row(f"https://{GITHUB}@github.com/a/b", GITHUB, "github-token"),
    "GitHub token that fills the text": Row(GITHUB, GITHUB, "github-token"),
    "GitLab personal token": _whole("gitlab-token", "gl" + "pat-" + MIXED[:20]),
    "GitLab routable token": _whole("gitlab-token", "gl" + "pat-" + MIXED[:27] + ".01.0" + MIXED[:7]),
    "GitLab runner token": _whole("gitlab-token", "gl" + "rt-" + MIXED[:20]),
    "Slack bot token": _whole("slack-token", "xo" + "xb-123456789012-1234567890123-" + MIXED[:24]),
    "Slack user token": _whole("slack-token", "xo" + "xp-123456789012-1234567890123-" + MIXED[:24]),
    "Slack app token": _whole("slack-token", "xa" + "pp-1-A0123456789-1234567890123-" + HEX),
    "Slack webhook": _whole("slack-webhook", "hooks.slack" + ".com/services/T00000000/B00000000/" + MIXED[:24]),
    "AWS access key id": _whole("aws-access-key-id", "AK" + "IA" + UPPER),
    "AWS temporary key id": _whole("aws-access-key-id", "AS" + "IA" + UPPER),
    "AWS key id in a query": Row("?c=%3DAK" + "IA" + UPPER + "%2F", "IA" + UPPER, "aws-access-key-id"),
    "AWS secret key": Row("aws_secret_access_key = " + MIXED[:40], MIXED[:40], "aws-secret-key"),
    "AWS secret key with a slash": Row("AWS_SECRET_ACCESS_KEY=x/" + MIXED[:38], MIXED[:38], "aws-secret-key"),
    "Google API key": _whole("google-api-key", "AI" + "za" + MIXED[:35]),
    "Google access token": _whole("google-token", "ya2" + "9.a0" + MIXED[:60]),
    "Google client secret": _whole("google-client-secret", "GOC" + "SPX-" + MIXED[:28]),
    "Anthropic key": _whole("anthropic-key", "sk" + "-ant-api03-" + MIXED[:93] + "AA"),
    "OpenAI key": _whole("openai-key", "sk" + "-" + MIXED[:48]),
    "OpenAI project key": _whole("openai-key", "sk" + "-proj-" + MIXED[:20] + "_-" + MIXED[:60]),
    "key of another service in that form": _whole("openai-key", "sk" + "-" + HEX[:32]),
    "OpenAI key in a terminal's colour": Row("\\x1b[32msk" + "-" + MIXED[:48], MIXED[:48], "openai-key"),
    "Stripe live key": _whole("stripe-key", "sk" + "_live_" + MIXED[:24]),
    "Stripe restricted key": _whole("stripe-key", "rk" + "_live_" + MIXED[:24]),
    "npm token": _whole("npm-token", "np" + "m_" + MIXED[:36]),
    "PyPI token": _whole("pypi-token", "py" + "pi-AgEIcHlwaS5vcmc" + MIXED[:70]),
    "Hugging Face token": _whole("hugging-face-token", "h" + "f_" + MIXED[:34]),
    "DigitalOcean token": _whole("digitalocean-token", "do" + "p_v1_" + HEX),
    "Docker token": _whole("docker-token", "dck" + "r_pat_" + MIXED[:27]),
    "SendGrid key": _whole("sendgrid-key", "S" + "G." + MIXED[:22] + "." + MIXED[:43]),
    "Vault token": _whole("vault-token", "hv" + "s." + MIXED[:24]),
    "Vault batch token": _whole("vault-token", "hv" + "b." + MIXED[:90]),
    "fsserver token": _whole("fsserver-token", "fs" + "s_" + MIXED[:20] + "_-" + MIXED[:21]),
    "age key": _whole("age-key", "AGE-SECRET" + "-KEY-1" + MIXED[:58].upper()),
    "JSON Web Token": _whole("jwt", JWT),
    "JSON Web Token behind an escaped line end": Row(f"\\n{JWT}", JWT, "jwt"),
    "RSA private key": Row(_pem("RSA ", LINES), LINES, "private-key"),
    "private key": Row(f"a\n{_pem('', LINES)}\nb", LINES, "private-key"),
    "OpenSSH private key": Row(_pem("OPENSSH ", LINES), LINES, "private-key"),
    "encrypted private key": Row(_pem("RSA ", f"DEK-Info: AES-128-CBC,0\n\n{LINES}"), LINES, "private-key"),
    "private key in JSON": Row(_pem("", LINES).replace("\n", "\\n"), BASE64[:40], "private-key"),
    "private key with line numbers": Row(_pem("", LINES).replace("\n", "\n     2\t"), BASE64[:40], "private-key"),
    "private key whose end is cut off": Row(_pem("", LINES, end=False), LINES, "private-key"),
    "Bearer": Row(f"Authorization: Bearer {MIXED[:12]}", MIXED[:12], "authorization"),
    "Basic": Row("authorization: basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA==", "authorization"),
    "Authorization in JSON": Row(f'{{"Authorization": "Bearer {MIXED[:12]}"}}', MIXED[:12], "authorization"),
    "Bearer alone": Row(f"-H 'X: bearer {MIXED[:24]}'", MIXED[:24], "authorization"),
    "password in an address": Row("postgres://app:hunter2@db:5432/x", "hunter2", "url-password"),
    "password in an address, with an at sign": Row("https://me:p@ss@host/x", "p@ss", "url-password"),
    "password in a query": Row("https://host/?user=me&password=letmein&x=1", "letmein", "secret-value"),
    "token in a query": Row("/callback?access_token=letmein", "letmein", "secret-value"),
    "signature of a shared link": Row("/b?sv=1&sig=" + MIXED[:40] + "%3D", MIXED[:40], "secret-value"),
    "signature of a presigned link": Row("/b?X-Amz-Signature=" + HEX, HEX, "secret-value"),
    "flag with its value": Row("--token=letmein", "letmein", "secret-value"),
    "flag with more words": Row("--db-password=letmein", "letmein", "secret-value"),
    "flag with its value in quotes": Row("mysql --password='letmein' -x", "letmein", "secret-value"),
    "flag with a value of two words": Row("mysql --password='let me in' -x", "let me in", "secret-value"),
    "flag and value": Row("mysql --password hunter22 -x", "hunter22", "secret-value"),
    "variable of an environment": Row("DB_PASSWORD=hunter22", "hunter22", "secret-value"),
    "line of YAML": Row("password: hunter22", "hunter22", "secret-value"),
    "member of JSON": Row('"api_key": "hunter22"', "hunter22", "secret-value"),
    "line of YAML, aligned": Row("password:       hunter22", "hunter22", "secret-value"),
    "member of JSON in JSON": Row('{\\"password\\": \\"hunter22\\"}', "hunter22", "secret-value"),
    "connection string": Row("Server=db;Password=hunter22;X=1", "hunter22", "secret-value"),
    "account key": Row(f"AccountKey={BASE64}", BASE64[:80], "secret-value"),
}

NO_SECRETS: dict[str, str] = {
    "prose": "The token of a session is a secret, and its password too.",
    "prose with colons": "Token: see below. Password: required. Secret: none.",
    "SHA-256": HEX,
    "SHA-256 with its name": f"sha256: {HEX}",
    "SHA-512 in base64": f'"integrity": "sha512-{BASE64}"',
    "base64 of a file": base64.b64encode(bytes(range(256)) * 40).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(bytes(range(256)) * 40).decode(),
    "git id": f"commit {HEX[:40]}",
    "git range": f"{HEX[:7]}..{HEX[7:14]}",
    "UUID": "123e4567-e89b-12d3-a456-426614174000",
    "path": "/home/ada/projects/tokenizer/secrets/password_reset.py",
    "path of a key": "/home/ada/.ssh/id_ed25519.pub",
    "Windows path": "C:\\Users\\ada\\token",
    "address": "https://example.com:8443/path?page=2&sort=name#top",
    "address with a user": "ssh://git@github.com:22/a/b.git",
    "address with a variable for a password": "https://ci:${TOKEN}@host/x",
    "address of git": "git@github.com:owner/repository.git",
    "mail": "Ada <ada@example.com>",
    "time": "2026-11-23T16:42:29.042232Z",
    "device and inode": "2049:123456",
    "rule": "preset:secrets:12",
    "task with a hash": f"task-{HEX[:32]}",
    "disk with a hash": f"/dev/disk-{HEX[:32]}",
    "class of a style sheet": "sk-toggleable__content sk-estimator-doc-link-and-something-more",
    "locale": "sk-SK",
    "kebab-case that begins like a token": "glrt-detection-of-signals-in-noise",
    "ant colony": "sk-ant-colony-optimisation-for-travelling-salesmen",
    "identifier with live": "task_live_internationalization",
    "constant with live": "RISK_LIVE_UPDATES",
    "npm variable": "npm_config_registry npm_package_version_with_a_longer_name",
    "prefix alone": "ghp_ glpat- xoxb- AKIA sk- npm_ hf_ eyJ ya29.",
    "prefix and a few letters": "ghp_abc glpat-abc xoxb-abc AKIA123 npm_abc hf_abc dop_v1_abc",
    "word in capitals": "ASIAN MARKETS AKIAGE",
    "constant in capitals": "EURASIAPACIFICREGION",
    "JSON in base64": "eyJ" + "hbGciOiJIUzI1NiJ9",
    "public key": PEM.format("BEGIN", "").replace("PRIVATE", "PUBLIC") + f"\n{LINES}\n",
    "certificate": f"-----BEGIN CERTIFICATE-----\n{LINES}\n-----END CERTIFICATE-----",
    "words about a private key": _pem("", "..."),
    "heading of a private key in a sentence": f"It begins with {PEM.format('BEGIN', '')} and ends like it.",
    "Authorization with a placeholder": "Authorization: Bearer <token>",
    "Authorization in a sentence": "Authorization: Basic authentication is required.",
    "bearer in a sentence": "The bearer of this has to authenticate-themselves-first.",
    "argument in Python": "connect(password=password, token=self.token)",
    "argument from the environment": "secret=os.environ['SECRET_1'], token=settings.API_TOKEN_1",
    "call": "token=get_token_v2(session)",
    "type": "token: string; password: str = None",
    "number of tokens": "max_tokens=4096 token=12 n_tokens: 128",
    "variable of a shell": "PASSWORD=$PASSWORD1 TOKEN=${TOKEN_1} API_KEY=$(cat key1)",
    "template": "password: {{ vault_password_1 }}",
    "placeholder": "--password=<password> token=[redacted:secret-value]",
    "file with a secret": "--token-file=/run/secrets/token1 password: /run/secrets/p1",
    "flag in a sentence": "Use --token to name it, and --password where it is needed.",
    "keyboard": "key=value keyboard=de hotkey: F12 key: 12",
    "import": "import { tokenize } from './token-utils'; secretary: 'Ada 2'",
    "version": "hvs.py SG.txt ya29.md 1.2.3-rc.1+build.5",
    "map of YAML": "secret:\n    secretName: db-1\ntoken:\n      name: api-2",
    "label of a form": '"password": "At least 8 characters", "token": "Paste it here 1"',
    "number of an issue": "fixes owner/repository#1234, see gh-1234",
    "empty text": "",
}
