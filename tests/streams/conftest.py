"""The web process that tests of streams share; it has short times, so that they are quick."""

from collections.abc import Iterator

import pytest

from tests.conftest import MakeTopic
from tests.streams.web import Stage, Web, running, staged


@pytest.fixture(scope="package")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Yield a web process; tests may restart it, but leave it running."""
    folder = tmp_path_factory.mktemp("web")
    settings = {"stream_drain": "1", "stream_heartbeat": "5", "stream_write_deadline": "3"}
    with running(folder, **settings) as process:
        yield process


@pytest.fixture
def stage(server: Web, topic: MakeTopic) -> Iterator[Stage]:
    """Yield a topic of its own on that process, and alice, who may read it."""
    with staged(server, topic) as made:
        yield made
