"""How verbs end where they cannot say what they found.

Some exit codes are answers: those of `fsserver audit verify` are verdicts. So neither a reader that went away, nor a
full disk, nor Ctrl-C may end a verb with 1, as click has it: that would say that a log was tampered with.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import click

from fsserver.errors import AuditError


@dataclass
class Ending:
    """``code``: with what the verb ends; what was found so far."""

    code: int = 0


@contextmanager
def told() -> Iterator[Ending]:
    """Everything that a verb reads and says. It ends with 2 and a sentence if a log cannot be read, or the output not
    be written; without a word if its reader went away, or at Ctrl-C, with 130.
    """
    ending = Ending()
    try:
        yield ending
    except AuditError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        _leave(ending.code)
    except OSError as error:  # of a log it is an AuditError
        leave_unwritten(error)
    except KeyboardInterrupt:
        _leave(130)


def leave_unwritten(error: OSError) -> NoReturn:
    """End with 2 and a sentence."""
    click.echo(f"Error: standard output cannot be written: {error.strerror}.", err=True)
    _leave(2)


def _leave(code: int) -> NoReturn:
    """End without a word. What is left in the buffer has nowhere to go, and Python would say so at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
