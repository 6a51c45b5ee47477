"""Our own ports speak TLS where they are given a certificate, and take a new one as it comes."""

import ssl
from collections.abc import Iterator
from http.client import HTTPSConnection  # noqa: TID251 - a test asks a server of ours
from pathlib import Path

import pytest

from tests.fakes.certificates import Authority, authority, issue, presented
from tests.gateway.grpc_rig import Server
from tests.streams.web import Web, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def trusted(tmp_path: Path) -> Authority:
    return authority(tmp_path)


@pytest.fixture
def tls(tmp_path: Path, trusted: Authority) -> dict[str, str]:
    """Return the settings that name a pair of files."""
    issue(trusted, tmp_path)
    return {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}


@pytest.fixture(params=["web", "grpc"])
def port(
    request: pytest.FixtureRequest, tmp_path: Path, tls: dict[str, str], transactional_db: None
) -> Iterator[int]:
    """Return the port of a process that is starting."""
    made: Web | Server = (Web if request.param == "web" else Server)(tmp_path, tls)
    try:
        made.launch()
        yield made.port
    finally:
        made.kill()
        print(made.log.read_text()[-2_000:])  # noqa: T201 - shown when the test fails


def shown(port: int, trusted: Authority) -> bytes | str:
    try:
        return presented(port, trusted)
    except (OSError, ssl.SSLError) as error:
        return str(error)


def test_a_port_takes_a_new_certificate_as_it_comes(
    port: int, tmp_path: Path, trusted: Authority
) -> None:
    wait_for(lambda: isinstance(shown(port, trusted), bytes), lambda: shown(port, trusted))
    before = presented(port, trusted)

    after = issue(trusted, tmp_path)

    assert after != before
    wait_for(lambda: shown(port, trusted) == after, lambda: shown(port, trusted))


def test_the_web_process_answers_over_tls_by_its_public_address(
    tmp_path: Path, trusted: Authority, tls: dict[str, str], transactional_db: None
) -> None:
    web = Web(tmp_path, tls)
    context = ssl.create_default_context(cafile=str(trusted.ca_file))

    def answer() -> int | str:
        asking = HTTPSConnection("localhost", web.port, timeout=5, context=context)
        try:
            asking.request("GET", "/livez")
            return asking.getresponse().status
        except OSError as error:
            return str(error)
        finally:
            asking.close()

    try:
        web.launch()
        wait_for(lambda: answer() == 200, answer)
    finally:
        web.kill()
