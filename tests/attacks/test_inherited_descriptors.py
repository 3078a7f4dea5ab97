"""What a careless client leaves open when it starts the server."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path


def test_a_descriptor_that_the_client_left_open_is_closed_before_serving(tmp_path: Path) -> None:
    """It may lead anywhere, and Landlock says nothing about what is open already."""
    (tmp_path / "root").mkdir()
    reader, writer = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-m", "fsserver", "serve", "--root", str(tmp_path / "root")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        pass_fds=(writer,),
    )
    try:
        os.close(writer)
        ready, _, _ = select.select([reader], [], [], 20.0)
        assert ready, "the server still holds it"
        assert os.read(reader, 1) == b""
        assert server.poll() is None, "it was closed by the server, not by its end"
    finally:
        os.close(reader)
        assert server.stdin is not None
        server.stdin.close()
        assert server.wait(timeout=20) == 0
