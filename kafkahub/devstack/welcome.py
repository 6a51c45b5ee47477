"""What the terminal says once everything runs; each line works as copied."""

import json
import sys
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from kafkahub.devstack.samples import OWN
from kafkahub.devstack.stack import Stack
from kafkahub.devstack.terminal import BOLD, DIM, paint

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
EXAMPLE_FILTER = {"value": {"total": {"$gte": 100}}}


@dataclass(frozen=True, slots=True)
class Seed:
    """What ``manage.py demo seed`` has made, or found made."""

    partner_id: str
    partner_name: str
    api_key: str
    endpoint_id: str
    admin_user: str
    admin_password: str
    member: str
    member_password: str
    topics: list[str]

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def welcome(
    parts: Stack, seed: Seed, *, base_url: str, receiver_url: str, grpc_target: str, folder: Path
) -> str:
    """Return the page of text that ends the start.

    folder  of the run, ``var/`` for most
    """
    version = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]
    head = f"{paint(f'KafkaHub {version}', BOLD)}  {base_url}"
    lines = [
        ("parts", "  ".join(parts.labels)),
        ("portal", f"{base_url}/portal/{seed.partner_id}/  {seed.member} / {seed.member_password}"),
        ("admin", f"{base_url}/admin/  {seed.admin_user} / {seed.admin_password}  (dev only)"),
        ("partner", f"{seed.partner_name}, {seed.partner_id}"),
        ("key", seed.api_key),
        ("subscribe", _subscribe(base_url, seed)),
        ("deliveries", f"curl -s {_bearer(seed)} {base_url}/api/v1/deliveries"),
        ("stream", f"curl -N {_bearer(seed)} {base_url}/streams/{seed.topics[0]}"),
        ("write", _write(base_url, seed)),
        ("read", f'curl -s {_bearer(seed)} "{base_url}/api/v1/topics/{OWN}/records?wait=10"'),
        ("rest v2", _produce_v2(base_url, seed)),
        ("grpc", f"grpcurl -plaintext {_bearer(seed)} {grpc_target} list"),
        ("kafka", f"{parts.bootstrap}  {' '.join(seed.topics)}"),
        ("sample", f"{len(seed.topics)} topics, 5 records/s; {receiver_url} fails 1 in 20"),
        ("commands", f"set -a; . {folder}/dev.env; set +a; {_program()} manage.py doctor"),
        ("logs", f"{folder}/log/*.log"),
    ]
    body = "\n".join(f"  {paint(f'{name:<10}', DIM)} {text}" for name, text in lines)
    return f"{head}    Ctrl-C stops everything\n{body}\n"


def _program() -> Path:
    """Return the Python that runs us, as it is called from here."""
    program = Path(sys.executable)
    here = Path.cwd()
    return program.relative_to(here) if program.is_relative_to(here) else program


def _subscribe(base_url: str, seed: Seed) -> str:
    body = {
        "name": "large orders",
        "endpoint": seed.endpoint_id,
        "topics": ["orders"],
        "filter": EXAMPLE_FILTER,
    }
    content = f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
    return f"curl -s {_bearer(seed)} {content} {base_url}/api/v1/subscriptions"


def _write(base_url: str, seed: Seed) -> str:
    content = """-H 'Content-Type: application/json' -d '{"foo":"bar"}'"""
    return f"curl -s {_bearer(seed)} {content} {base_url}/api/v1/topics/{OWN}/records"


def _produce_v2(base_url: str, seed: Seed) -> str:
    """Return the line that Confluent's documentation has, with the key in one header more."""
    header = f'-H "Authorization: Bearer {seed.api_key}"'
    kind = '-H "Content-Type: application/vnd.kafka.json.v2+json"'
    body = """--data '{"records":[{"value":{"foo":"bar"}}]}'"""
    return f'curl -X POST {header} {kind} {body} "{base_url}/topics/{OWN}"'


def _bearer(seed: Seed) -> str:
    return f"-H 'Authorization: Bearer {seed.api_key}'"
