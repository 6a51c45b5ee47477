"""What a page of the portal loads stays small, as it goes over the wire."""

import gzip
from pathlib import Path

import pytest

STATIC = Path("kafkahub/static")
STREAM = Path("gateway/static/kafkahub-stream.js")
ALWAYS = [STATIC / "hub-theme.js", STATIC / "hub.js", STATIC / "vendor" / "htmx.min.js"]
SCRIPTS = {
    "most pages": ALWAYS,
    "console": [*ALWAYS, STATIC / "hub-console.js", STREAM],
    "usage": [*ALWAYS, STATIC / "hub-chart.js", STATIC / "vendor" / "uplot.min.js"],
}
SHEETS = [STATIC / "kafkahub.css", STATIC / "vendor" / "uplot.min.css"]
MAX_SCRIPT, MAX_STYLE = 60 * 1024, 20 * 1024


def zipped(paths: list[Path]) -> int:
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


@pytest.mark.parametrize("page", SCRIPTS)
def test_scripts_of_a_page(page: str) -> None:
    assert zipped(SCRIPTS[page]) <= MAX_SCRIPT


def test_style_of_a_page() -> None:
    assert zipped(SHEETS) <= MAX_STYLE


@pytest.mark.parametrize("path", [*ALWAYS[:2], STATIC / "hub-console.js", STATIC / "hub-chart.js"])
def test_our_scripts_set_text_only_and_build_no_code(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "eval(",
        "new Function",
        "http://",
    ):
        assert word not in source
