"""A company's own sign-in, against an OpenID provider of the tests."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import override_settings

from subscriptions.actions import members
from subscriptions.audit import Actor, ActorKind
from subscriptions.models import Member, Role
from tests import factories

pytestmark = pytest.mark.django_db

ANA = "ana@acme.example"


class Company(ThreadingHTTPServer):
    """A provider that knows one person and remembers what it was asked."""

    person = {"sub": "42", "email": "Ana@Acme.example", "email_verified": True}
    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Company

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        url = self.server.url
        self.server.asked.append(self.path)
        found: dict[str, object] = {
            "/.well-known/openid-configuration": {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "userinfo_endpoint": f"{url}/me",
                "jwks_uri": f"{url}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            },
            "/token": {"access_token": "a", "token_type": "Bearer", "expires_in": 60},
            "/me": self.server.person,
        }
        body = json.dumps(found[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the library
        """Say nothing."""


@pytest.fixture
def company() -> Iterator[Company]:
    with Company(("127.0.0.1", 0), Answers) as server:
        server.asked = []
        providers = {
            "openid_connect": {
                "APPS": [
                    {
                        "provider_id": "company",
                        "name": "Acme sign-in",
                        "client_id": "hub",
                        "secret": "s",
                        "settings": {"server_url": server.url, "oauth_pkce_enabled": True},
                    }
                ]
            }
        }
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with override_settings(SOCIALACCOUNT_PROVIDERS=providers):
            yield server
        server.shutdown()
        thread.join()


def come_back(client: Client) -> str:
    """Go to the company and come back from it; return where one is sent then."""
    away = client.post("/account/company/company/")
    query = parse_qs(urlsplit(away.headers["Location"]).query)
    assert query["code_challenge_method"] == ["S256"]
    back = {"code": "c", "state": query["state"][0]}
    return client.get("/account/company/company/back/", back).headers.get("Location", "")


def test_the_company_lets_in_whom_it_vouches_for(client: Client, company: Company) -> None:
    acme = factories.partner("Acme")
    factories.member(acme, User.objects.create_user(ANA, ANA))

    assert come_back(client) == f"/portal/{acme.pk}/"
    assert company.asked[-2:] == ["/token", "/me"]


def test_an_invited_person_joins_through_the_company(client: Client, company: Company) -> None:
    acme = factories.partner("Acme")
    operator = Actor(ActorKind.OPERATOR, "olga")
    _, text = members.invite(operator, acme, ANA, Role.VIEWER)
    client.get(f"/invite/{text}")

    assert come_back(client) == f"/invite/{text}"
    client.post(f"/invite/{text}")

    assert Member.objects.get().user.username == ANA
    assert not User.objects.get().has_usable_password()


def test_nobody_comes_uninvited(client: Client, company: Company) -> None:
    come_back(client)

    assert not User.objects.exists()


def test_an_address_the_company_does_not_vouch_for_is_nobodys(
    client: Client, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.member(factories.partner(), User.objects.create_user(ANA, ANA))
    monkeypatch.setattr(company, "person", {**company.person, "email_verified": False})

    come_back(client)

    assert "_auth_user_id" not in client.session


def test_no_operator_comes_by_the_company(client: Client, company: Company) -> None:
    User.objects.create_superuser(ANA, ANA, "correct horse battery")

    come_back(client)

    assert "_auth_user_id" not in client.session


def test_the_button_may_lead_away_and_no_other_page(client: Client, company: Company) -> None:
    page = client.get("/account/login/")

    assert "Acme sign-in" in page.content.decode()
    assert f"form-action 'self' {company.url}" in page.headers["Content-Security-Policy"]
    other = client.get("/docs/streams/live").headers["Content-Security-Policy"]
    assert company.url not in other


def test_a_company_that_is_away_is_told_in_words(client: Client, company: Company) -> None:
    company.person = {}

    page = client.get("/account/company/company/back/", {"error": "server_error", "state": "x"})

    assert "did not let you in" in page.content.decode()
