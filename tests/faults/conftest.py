"""A world and servers, made once for all tests of faults."""

from collections.abc import Iterator

import pytest

from faults.commands import Server, Servers, servers
from faults.shim import why_not
from faults.stages import World, make_world


@pytest.fixture(scope="session")
def shim() -> None:
    """For tests that break file operations."""
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started


@pytest.fixture(scope="session")
def server(pool: Servers) -> Server:
    return pool.mine()


@pytest.fixture(scope="session")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world") / "w", server)
