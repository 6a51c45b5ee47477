"""Each fault of a connection has its sentence."""

import re
from pathlib import Path

import pytest

from delivery.words import SENTENCES, Case, sentence

CASE = Case("hook.acme.example", 8443, status=503, waited_s=15)
LISTED = re.findall(
    r"^\| `([a-z0-9_]+)` \|",
    Path("docs/reference/outcomes.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("outcome", [name for name in LISTED if name != "delivered"])
def test_every_outcome_is_told_in_a_sentence(outcome: str) -> None:
    text = sentence(outcome, CASE)

    assert text.endswith((".", "?"))
    assert "{" not in text


def test_what_went_well_needs_no_sentence() -> None:
    assert sentence("delivered", CASE) == ""
    assert "delivered" not in SENTENCES


def test_a_sentence_names_host_and_port() -> None:
    assert "hook.acme.example" in sentence("dns_not_found", CASE)
    assert "8443" in sentence("tcp_refused", CASE)
