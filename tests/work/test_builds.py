"""make with a C compiler, npm, and what their programs leave behind."""

from __future__ import annotations

import json

import pytest

from tests.work.desk import Desk, need

MAKEFILE = """hello: hello.c
\tcc -O1 -o hello hello.c

run: hello
\t./hello

.PHONY: run
"""
SOURCE = '#include <stdio.h>\nint main(void) { puts("hello from C"); return 0; }\n'


def test_make_compiles_runs_and_is_up_to_date_then(desk: Desk) -> None:
    need("cc")
    desk.write("Makefile", MAKEFILE)
    desk.write("hello.c", SOURCE)
    with desk.serve(f"extends: [preset:make]\ncommands: {{make: {{exec: {need('make')}}}}}\n") as work:
        assert work.works("make", "-s", "run") == "hello from C\n"
        assert "up to date" in work.works("make", "hello")
        desk.write("hello.c", "this is no C\n")
        failed = work.run("make", "run")
        assert failed["exitCode"] == 2
        assert "hello.c:1:1: error:" in failed["stderr"]


@pytest.mark.slow
def test_npm_runs_a_script_and_passes_its_failure_on(desk: Desk) -> None:
    need("node")
    scripts = {"test": "node test.js", "where": "node -p 'process.cwd()'", "bad": "exit 3"}
    desk.write("package.json", json.dumps({"name": "a", "version": "1.0.0", "scripts": scripts}))
    desk.write("test.js", "require('assert').equal(1 + 1, 2); console.log('fine')\n")
    with desk.serve(f"extends: [preset:node]\ncommands: {{npm: {{exec: {need('npm')}}}}}\n") as work:
        ran = work.run("npm", "test", "--silent")
        assert (ran["exitCode"], ran["stdout"], ran["stderr"]) == (0, "fine\n", "")
        assert work.works("npm", "run", "--silent", "where") == f"{desk.root}\n"
        assert work.run("npm", "run", "--silent", "bad")["exitCode"] == 3
        assert work.error("run_command", command="npm", args=["install"])["code"] == "denied.command"
