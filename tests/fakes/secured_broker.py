"""A real broker of its own that lets nobody in without TLS, a certificate, or a password."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from kafkahub.devstack import kafka, ports
from kafkahub.devstack.parts import Part, Site, wait_for
from kafkahub.devstack.processes import Processes

USER, PASSWORD = "hub", "right-password"
TOKEN_S = 600
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"


@dataclass(frozen=True, slots=True)
class SecuredBroker:
    """Where it is, and what gets in.

    sasl_ssl, ssl  ``host:port`` of the listeners with passwords and with client certificates
    plain          the one without, for the test itself
    """

    sasl_ssl: str
    ssl: str
    plain: str
    ca_file: Path
    certificate: Path
    key: Path


@contextmanager
def secured_broker(folder: Path, env: Mapping[str, str]) -> Iterator[SecuredBroker]:
    """Run a broker; ``USER`` may come by PLAIN, SCRAM-SHA-512 and OAUTHBEARER."""
    site = Site(folder / "parts", folder / "log", dict(env), lasting=False)
    for each in (site.folder, site.logs):
        each.mkdir(parents=True, exist_ok=True)
    part, kind = kafka.part(site)
    assert kind == "apache"
    ca_file, certificate, key = _material(folder)
    sasl_port, ssl_port = ports.spare(), ports.spare()
    _secure(part, folder, sasl_port, ssl_port)
    assert part.program is not None
    processes = Processes()
    try:
        plain = wait_for(part, processes.start(part.program))
        _add_user(plain)
        yield SecuredBroker(
            f"127.0.0.1:{sasl_port}", f"127.0.0.1:{ssl_port}", plain, ca_file, certificate, key
        )
    finally:
        processes.stop()


@contextmanager
def token_server() -> Iterator[str]:
    """Serve tokens that the broker's unsecured validator takes; yield the URL to ask."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


class _Tokens(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = self.headers.get("Authorization", "")
        right = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if asked != f"Basic {right}":
            self._say(401, {"error": "invalid_client"})
            return
        now = int(time.time())
        claims = {"sub": USER, "iat": now, "exp": now + TOKEN_S, "scope": "kafka"}
        token = f"{_part({'alg': 'none'})}.{_part(claims)}."
        self._say(200, {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_S})

    def _say(self, status: int, answer: Mapping[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _part(values: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def _material(folder: Path) -> tuple[Path, Path, Path]:
    """Write the broker's key store, and return what a client needs: CA, certificate, key."""
    authority = trustme.CA()
    ca_file, certificate, key = (folder / name for name in ("ca.pem", "client.pem", "client.key"))
    authority.cert_pem.write_to_path(ca_file)
    (folder / "broker.pem").write_bytes(_key_store(authority.issue_cert("127.0.0.1")))
    own = authority.issue_cert("hub@hub.example")
    own.cert_chain_pems[0].write_to_path(certificate)
    own.private_key_pem.write_to_path(key)
    return ca_file, certificate, key


def _key_store(leaf: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    pkcs8 = key.private_bytes(  # the only form that the broker reads
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pkcs8 + b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def _secure(part: Part, folder: Path, sasl_port: int, ssl_port: int) -> None:
    assert part.program is not None
    properties = Path(part.program.argv[-1])
    lines = properties.read_text(encoding="utf-8").splitlines()
    more = f",SASL_SSL://127.0.0.1:{sasl_port},SSL://127.0.0.1:{ssl_port}"
    endings = {
        "listeners": more,
        "advertised.listeners": more,
        "listener.security.protocol.map": ",SASL_SSL:SASL_SSL,SSL:SSL",
    }
    lines = [line + endings.get(line.partition("=")[0], "") for line in lines]
    lines += [
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={folder / 'broker.pem'}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={folder / 'ca.pem'}",
        "listener.name.ssl.ssl.client.auth=required",
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512,OAUTHBEARER",
        f'listener.name.sasl_ssl.plain.sasl.jaas.config={PLAIN} required user_{USER}="{PASSWORD}";',
        f"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={SCRAM} required;",
        f"listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={OAUTH} required;",
    ]
    properties.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _add_user(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    kept = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096)
    added = UserScramCredentialUpsertion(USER, kept, PASSWORD.encode())
    for future in admin.alter_user_scram_credentials([added]).values():
        future.result(10)
