"""Names of files are UTF-8 for the server, as policies and clients write them, whatever its environment says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.client import Client, text_of

# Without its UTF-8 mode and without another locale Python takes names for ASCII, as it takes them for ISO-8859-1 where
# a locale says that; few machines have such a one.
ANOTHER_LOCALE = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.mark.claim("C2")
def test_protected_name_beyond_ascii_is_protected_where_the_locale_is_not_utf_8(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    for name in ("é.txt", "ü.txt"):
        (root / name).write_text(name)
    policy = tmp_path / "políticas.yaml"
    policy.write_text(f'version: 1\nroots: {{work: {{path: {root}, deny: ["é.txt"]}}}}\n')
    policy.chmod(0o600)
    environment = {**ANOTHER_LOCALE, "XDG_STATE_HOME": str(tmp_path / "state")}
    with Client(["-m", "fsserver", "serve", "--policy", str(policy)], env=environment) as client:
        client.open()
        refused = client.call("read_text_file", {"path": "é.txt"})
        assert refused["structuredContent"]["error"]["code"] == "denied.protected"
        assert text_of(client.call("read_text_file", {"path": "ü.txt"})) == "ü.txt"
        assert "[FILE] ü.txt" in text_of(client.call("list_directory", {"path": "."}))
