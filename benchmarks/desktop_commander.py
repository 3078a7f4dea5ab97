"""Desktop Commander, a server that also searches with ripgrep: how it is started, and one whole search on it.

It is installed into the user's cache when it is missing, without its scripts. It reports what it does and loads a
browser when it starts; here it does neither. That it counts each call in a locked file is part of what a call takes.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.measure import expect, result_text
from benchmarks.peers import DIRECTORY
from benchmarks.servers import Command
from tests.compat.install import cached, installed
from tests.compat.wire import Connection

PACKAGE = "@wonderwhy-er/desktop-commander", "0.2.52"
NAME = f"Desktop Commander {PACKAGE[1]}"
POLL_S = 0.005
LONGEST_S = 120.0
MOST_RESULTS = 100_000
_SESSION = re.compile(r"session: (search_\w+)")
_FOUND = re.compile(r"^(?:📄|📁) (.*)$", re.MULTILINE)


def desktop_commander(base: str, root: str) -> Command:
    """To be started on ``root``; what it keeps lies beneath ``base``.

    Raises:
        tests.compat.install.MissingError: no node, or npm cannot install the package.
    """
    modules = installed(PACKAGE, directory=os.path.join(cached(DIRECTORY), "desktop-commander"))
    home = f"{base}/commander-home"
    os.makedirs(f"{home}/.claude-server-commander")
    with open(f"{home}/.claude-server-commander/config.json", "w", encoding="utf-8") as file:
        json.dump({"allowedDirectories": [root], "telemetryEnabled": False}, file)
    browser = f"{home}/.cache/puppeteer/chrome/linux-1/chrome-linux64"
    os.makedirs(browser)
    with open(f"{browser}/chrome", "wb"):
        pass  # with a browser in its cache it loads none
    variables = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "LANG": "C.UTF-8",
        "DESKTOP_COMMANDER_DISABLE_TELEMETRY": "1",
        "DC_FLAG_URL": "http://127.0.0.1:9/",
    }
    entry = os.path.join(modules, "node_modules", PACKAGE[0], "dist", "index.js")
    return Command(NAME, ("node", entry, "--no-onboarding"), tuple(variables.items()), root)


def search(server: Connection, arguments: Mapping[str, Any]) -> tuple[float, list[str]]:
    """Seconds from the start of a search until its last result is there, and what it found, a line each."""
    started = time.perf_counter()
    begun = result_text(server.call("start_search", arguments))
    session = _SESSION.search(begun)
    expect(session is not None, f"no search: {begun[:300]}")
    assert session is not None
    more = {"sessionId": session[1], "length": MOST_RESULTS}
    while "Status: COMPLETED" not in (text := result_text(server.call("get_more_search_results", more))):
        expect(time.perf_counter() - started < LONGEST_S, "a search that does not end")
        time.sleep(POLL_S)
    return time.perf_counter() - started, _FOUND.findall(text)
