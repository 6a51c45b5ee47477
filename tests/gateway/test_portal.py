"""The page that streams live, and the helper file that every page may load."""

import gzip
from pathlib import Path

import pytest
from django.test import Client

HELPER = Path("gateway/static/kafkahub-stream.js")
MAX_GZIPPED = 5 * 1024


def test_the_live_page_opens_for_everybody_and_asks_no_other_host(client: Client) -> None:
    page = client.get("/docs/streams/live")

    assert page.status_code == 200
    assert "https://" not in page.content.decode()
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.django_db  # closing the file ends the request, which looks at open connections
@pytest.mark.parametrize("name", ["kafkahub-stream.js", "kafkahub-live.js", "kafkahub-live.css"])
def test_pages_of_every_origin_may_load_the_helper(client: Client, name: str) -> None:
    answer = client.get(f"/static/{name}", headers={"Origin": "https://shop.example.com"})

    answer.close()  # a file is behind it

    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_helper_is_small_and_builds_no_code_from_text() -> None:
    source = HELPER.read_text(encoding="utf-8")

    assert len(gzip.compress(source.encode(), 9)) <= MAX_GZIPPED
    assert "eval(" not in source
    assert "innerHTML" not in source
    assert "import " not in source.replace("import { openStream }", "")
