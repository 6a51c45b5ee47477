"""The gRPC contract: what is committed is what the compiler makes, and anybody may fetch it."""

from pathlib import Path

import pytest
from django.test import Client

from gateway.portal.contract import PROTO
from gateway.proto.generate import generate


def test_the_generated_code_is_of_this_contract(tmp_path: Path) -> None:
    assert generate(tmp_path) == 0

    made = tmp_path / "kafkahub" / "v1"
    for name in ("kafkahub_pb2.py", "kafkahub_pb2.pyi"):
        assert (made / name).read_bytes() == (PROTO.parent / name).read_bytes()


@pytest.mark.django_db
def test_the_contract_can_be_fetched_without_a_credential(client: Client) -> None:
    answer = client.get("/api/v1/kafkahub.proto")

    assert (answer.status_code, answer.content) == (200, PROTO.read_bytes())
