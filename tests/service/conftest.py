"""What the tests of this directory share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_server import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One for all who do not stop it."""
    with redis_server() as server:
        yield server
