"""The docs keep up with the source: every name that is promised has its entry and its sentence."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from kafkahub import errors, problems
from kafkahub.config import Config
from kafkahub.observability.metrics import PREFIX
from kafkahub.reference import pages, settings_page, source

ROOT = Path(settings.BASE_DIR)
FACTS = pages.read(ROOT)


def page(path: str) -> str:
    return (ROOT / "docs" / path).read_text(encoding="utf-8")


def rows(path: str) -> dict[str, list[str]]:
    """Return the cells of the tables of a page by the first name in backquotes of each row."""
    found = {}
    for line in page(path).splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        name = re.search(r"`([^`]+)`", line)
        if line.startswith("| ") and name:
            found[name.group(1)] = cells
    return found


def test_the_generated_pages_are_those_of_this_source() -> None:
    call_command("docs", check=True)


def test_nothing_is_undocumented_and_nothing_documented_is_gone() -> None:
    assert pages.faults(FACTS) == []


@pytest.mark.parametrize("variable", settings_page.variables())
def test_every_setting_has_its_sentence(variable: str) -> None:
    assert rows("configuration.md")[variable][-1].endswith(".")


def test_every_setting_of_the_class_is_listed() -> None:
    assert len(settings_page.variables()) == len(Config.model_fields)


@pytest.mark.parametrize("kind", pages.errors(), ids=lambda kind: kind.code)
def test_every_error_has_its_sentence(kind: type[errors.HubError]) -> None:
    assert rows("reference/errors.md")[kind.code][-1].endswith((".", "same"))


@pytest.mark.parametrize("code", sorted(source.fault_codes(FACTS.modules) | set(problems.TITLES)))
def test_every_code_of_a_fault_has_its_sentence(code: str) -> None:
    assert rows("reference/errors.md")[code][-1].endswith(".")


@pytest.mark.parametrize(
    "metric", source.metrics(FACTS.modules, PREFIX), ids=lambda metric: metric.name
)
def test_every_metric_has_its_sentence(metric: source.Metric) -> None:
    assert rows("reference/metrics.md")[metric.name][-1].endswith(".")


@pytest.mark.parametrize("event", source.log_events(FACTS.modules))
def test_every_log_event_has_its_sentence(event: str) -> None:
    assert rows("reference/log_events.md")[event][1].endswith(".")


@pytest.mark.parametrize("name", sorted(source.outcomes(FACTS.modules)))
def test_every_outcome_has_its_sentence(name: str) -> None:
    assert rows("reference/outcomes.md")[name][-1].endswith(".")


@pytest.mark.parametrize("name", pages.commands())
def test_every_command_has_its_sentence(name: str) -> None:
    assert re.search(rf"^## {name}\n\n\S.*\.$", page("reference/commands.md"), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/**/*.md")), ids=lambda path: path.name)
def test_every_link_inside_the_docs_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
        assert "://" in target or (path.parent / target).exists(), target


def test_a_page_that_is_not_current_fails_the_check(tmp_path: Path) -> None:
    for folder in (*source.PACKAGES, "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder, target_is_directory=True)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    sentences = (ROOT / pages.SENTENCES).read_text(encoding="utf-8")
    (tmp_path / pages.SENTENCES).write_text(sentences, encoding="utf-8")

    with pytest.raises(CommandError, match=r"docs/configuration\.md is not current"):
        call_command("docs", check=True, root=str(tmp_path))
