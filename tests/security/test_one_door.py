"""No way out for a record's value beside ``subscriptions.access``, told from the syntax trees.

Three lists, each module with its reason: who gets whole records from Kafka, who looks into a value,
and who asks the door. A module that begins to do so without a row fails, and so does a row that
is no longer needed. Names decide, not types: a new place is for a person to judge.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kafkahub", "gateway", "delivery", "subscriptions")
DOOR = "authorize_and_project"

READERS = {
    "kafkahub/kafka/reader.py": "is the reader without a group",
    "kafkahub/kafka/consumer.py": "is the reader with a group",
    "kafkahub/kafka/intake.py": "makes records of what the client library gives",
    "kafkahub/kafka/producer.py": "uses the client library to write",
    "delivery/backlog.py": "hands records to the matcher, which asks the door",
    "delivery/consumer.py": "hands records to the matcher, which asks the door",
    "delivery/counting.py": "counts what the matcher lets through",
    "delivery/reread.py": "asks the door for each parked record it reads again",
    "gateway/app.py": "builds the hub",
    "gateway/grpc_process.py": "builds the hub",
    "gateway/rest/build.py": "builds the hub's reads",
    "gateway/hub/catchup.py": "puts records before audiences, which ask the door",
    "gateway/hub/fanout.py": "builds the reading thread",
    "gateway/hub/reading.py": "puts records before audiences, which ask the door",
    "gateway/hub/reads.py": "serves reads and consumers, which ask the door",
    "gateway/hub/tail.py": "keeps records for reads, which ask the door",
    "subscriptions/newest.py": "asks the door for partners; whole records for operators",
    "subscriptions/admin/grants.py": "shows operators what a grant would change",
}
"""Who can read Kafka, or takes records as they are."""

VALUES = {
    "kafkahub/kafka/intake.py": "makes records of what the client library gives",
    "kafkahub/kafka/envelope.py": "writes the forms of a record it is given, for all doors",
    "kafkahub/kafka/cloudevents.py": "knows CloudEvents by their form",
    "kafkahub/kafka/producer.py": "writes records that came in",
    "kafkahub/devstack/samples.py": "writes the samples of the development stack",
    "subscriptions/projection.py": "is the projection, which only the door applies",
    "subscriptions/filters/view.py": "decodes a value for filters; what it holds is not sent",
    "subscriptions/api/filters.py": "shows records of newest.records, which asked the door",
    "subscriptions/admin/grants.py": "shows operators what a grant would change",
    "delivery/counting.py": "sums the sizes of what the matcher let through",
    "delivery/lanes.py": "weighs a queued hit, which the matcher let through",
    "delivery/request.py": "writes the request of a hit, which the matcher let through",
    "delivery/reread.py": "checks what the door gave",
    "gateway/entries.py": "writes what a read let through",
    "gateway/frames.py": "writes what an audience let through",
    "gateway/objects.py": "writes what an audience or a read let through",
    "gateway/typed.py": "writes what a consumer let through, and takes what came in",
    "gateway/hub/log.py": "sums sizes",
    "gateway/hub/reads.py": "sums sizes",
    "gateway/hub/tape.py": "sums sizes",
    "gateway/grpc_service/messages.py": "writes what a read or an audience let through",
    "gateway/grpc_service/asked.py": "takes records that came in",
    "gateway/batch.py": "takes records that came in",
    "gateway/envelopes.py": "takes records that came in",
    "gateway/receipts.py": "takes records that came in",
    "gateway/received.py": "takes records that came in",
    "gateway/rest/v3_records.py": "takes records that came in",
}
"""Who looks into the value of a record, or of an entry to be written."""

ASKERS = {
    "delivery/matcher.py": "webhooks, replays and their dry runs",
    "delivery/reread.py": "parked records, when they leave and when they are shown",
    "delivery/why.py": "why a record was sent or not",
    "gateway/consumers.py": "consumers of REST and gRPC",
    "gateway/hub/audience.py": "streams",
    "gateway/rest/native_read.py": "reads",
    "subscriptions/newest.py": "trying a filter",
}
"""Who asks the door; one that stops fails here."""

NO_RECORDS = frozenset(
    {
        *("after", "code", "each", "kind", "outcome_class", "role", "state", "step", "verb"),
        *("bad.fault", "finding.severity", "found.rule", "found.step", "key.status", "told.step"),
        *("explain.Step.UNDECODABLE", "token"),
    }
)
"""Names that hold choices, codes and tokens everywhere."""
OTHERS = {
    ("delivery/portal/deliveries.py", "one"): "a state",
    ("kafkahub/kafka/admin.py", "entry"): "a setting of a topic",
    ("kafkahub/reference/settings_page.py", "value"): "a choice",
    ("subscriptions/actions/issuers.py", "row"): "the value of a claim",
    ("subscriptions/filters/explain.py", "culprit"): "of a projected record, for filters/explain",
    ("subscriptions/grant_rows.py", "projection"): "a method that projects",
}
"""Other things with a value, by module and name."""
TREES = "kafkahub/reference/source.py"
"""Reads syntax trees, whose nodes have values."""

WAYS_IN = frozenset(
    {
        "confluent_kafka",
        "confluent_kafka.Consumer",
        "confluent_kafka.DeserializingConsumer",
        *(f"kafkahub.kafka.{name}" for name in ("reader", "consumer", "intake")),
        "kafkahub.kafka.reader.Reader",
        "kafkahub.kafka.consumer.GroupConsumer",
        "kafkahub.kafka.intake.Intake",
        "subscriptions.newest.whole",
    }
)
"""What gives whole records, as it is imported."""


def trees(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text())


def reads_kafka(tree: ast.Module) -> bool:
    """Return whether a module gets at a reader, or at whole records of one."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=module, names=names):
                imported = {f"{module}.{each.name}" for each in names}
            case ast.Import(names=names):
                imported = {each.name for each in names}
            case ast.Attribute(value=ast.Name("newest"), attr="whole"):
                return True
            case _:
                continue
        if not WAYS_IN.isdisjoint(imported):
            return True
    return False


def values_of(path: str, tree: ast.Module) -> set[str]:
    """Return the names whose ``value`` a module reads and that may be records."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr="value", ctx=ast.Load()):
                found.add(ast.unparse(owner))
            case ast.Call(func=ast.Name("getattr"), args=[owner, ast.Constant("value"), *_]):
                found.add(ast.unparse(owner))
            case ast.Call(func=function, args=[owner, *_]):
                if ast.unparse(function).endswith(("structs.astuple", "structs.asdict")):
                    found.add(ast.unparse(owner))
    return {name for name in found if not _is_other(path, name)}


def _is_other(path: str, name: str) -> bool:
    """Return whether a name holds no record: ``self``, or a member of a class of choices."""
    is_choice = name[0].isupper() or name.startswith("grpc.StatusCode.")
    return name == "self" or is_choice or name in NO_RECORDS or (path, name) in OTHERS


def asks(tree: ast.Module) -> bool:
    """Return whether a module calls the door."""
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == DOOR
        for node in ast.walk(tree)
    )


def found_in(root: Path) -> Mapping[str, set[str]]:
    """Return the modules of each list as the source has them."""
    modules = [(path, tree) for path, tree in trees(root) if path != TREES]
    return {
        "readers": {path for path, tree in modules if reads_kafka(tree)},
        "values": {path for path, tree in modules if values_of(path, tree)},
        "askers": {path for path, tree in modules if asks(tree)},
    }


def test_only_listed_modules_get_at_records_and_values() -> None:
    assert found_in(ROOT) == {"readers": set(READERS), "values": set(VALUES), "askers": set(ASKERS)}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("values", "def sent(record):\n    return record.value\n"),
        ("values", "def sent(found):\n    return found.value()\n"),
        ("values", "def sent(record):\n    return getattr(record, 'value')\n"),
        ("values", "def sent(record):\n    return msgspec.structs.astuple(record)\n"),
        ("readers", "from kafkahub.kafka.reader import Reader\n"),
        ("readers", "from kafkahub.kafka import reader\n"),
        ("readers", "from confluent_kafka import Consumer\n"),
        ("readers", "import confluent_kafka\n"),
        ("readers", "from subscriptions.newest import whole\n"),
        ("readers", "from subscriptions import newest\nfound = newest.whole('t', 1, admin)\n"),
    ],
)
def test_a_planted_way_out_is_found(tmp_path: Path, kind: str, text: str) -> None:
    planted = tmp_path / "gateway" / "rest" / "shortcut.py"
    planted.parent.mkdir(parents=True)
    planted.write_text(text)

    assert found_in(tmp_path)[kind] == {"gateway/rest/shortcut.py"}


def test_a_door_that_is_no_longer_asked_is_found(tmp_path: Path) -> None:
    path = "delivery/matcher.py"
    (tmp_path / "delivery").mkdir()
    (tmp_path / path).write_text((ROOT / path).read_text().replace(f"{DOOR}(", "whole("))

    assert found_in(tmp_path)["askers"] == set()
