"""The certificate of our own ports: new files are taken by the next handshake."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kafkahub.serving import LOOK_S, Files, context_of
from tests.fakes.certificates import HOST, Authority, authority, issue, presented, put


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pass_a_look(self) -> None:
        self.now_s += LOOK_S


@pytest.fixture
def trusted(tmp_path: Path) -> Authority:
    return authority(tmp_path)


def files(folder: Path, clock: Clock) -> Files:
    return Files(folder / "cert.pem", folder / "key.pem", clock)


def test_a_pair_is_taken_when_both_files_are_there(trusted: Authority, tmp_path: Path) -> None:
    issue(trusted, tmp_path)
    clock = Clock()
    kept = files(tmp_path, clock)
    before = kept.pem

    leaf = trusted.ca.issue_cert(HOST)
    put(tmp_path / "cert.pem", leaf.cert_chain_pems[0].bytes())
    clock.pass_a_look()
    assert not kept.has_changed()
    assert kept.pem == before

    put(tmp_path / "key.pem", leaf.private_key_pem.bytes())
    clock.pass_a_look()
    assert kept.has_changed()
    assert kept.pem == (leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    clock.pass_a_look()
    assert not kept.has_changed()


def test_files_are_looked_at_once_in_a_while(trusted: Authority, tmp_path: Path) -> None:
    issue(trusted, tmp_path)
    clock = Clock()
    kept = files(tmp_path, clock)
    issue(trusted, tmp_path)

    assert not kept.has_changed()
    clock.pass_a_look()
    assert kept.has_changed()


def test_a_file_that_is_gone_changes_nothing(trusted: Authority, tmp_path: Path) -> None:
    issue(trusted, tmp_path)
    clock = Clock()
    kept = files(tmp_path, clock)
    context = kept.context()
    (tmp_path / "key.pem").unlink()
    clock.pass_a_look()

    assert kept.context() is context


def test_a_pair_that_is_none_is_refused_at_the_start(trusted: Authority, tmp_path: Path) -> None:
    issue(trusted, tmp_path)
    put(tmp_path / "key.pem", trusted.ca.issue_cert(HOST).private_key_pem.bytes())

    with pytest.raises(ssl.SSLError):
        files(tmp_path, Clock())


@contextmanager
def served(context: ssl.SSLContext) -> Iterator[int]:
    """Yield the port of a server that makes handshakes and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return  # closed: the test is over
                try:
                    context.wrap_socket(peer, server_side=True).close()
                except OSError:
                    peer.close()  # a client that believes nothing, or speaks an older version

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("name", [HOST, None])
def test_the_next_handshake_is_made_with_the_new_files(
    trusted: Authority, tmp_path: Path, name: str | None
) -> None:
    first, clock = issue(trusted, tmp_path), Clock()

    with served(context_of(files(tmp_path, clock))) as port:
        assert presented(port, trusted, name) == first
        second = issue(trusted, tmp_path)
        clock.pass_a_look()
        assert presented(port, trusted, name) == second
