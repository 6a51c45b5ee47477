"""What the source says of itself: log events, metrics, codes of faults, names of outcomes.

Read from the syntax tree, not by importing: a reference must not need a database, and what is
never imported is documented too. It rests on a rule: these names are written as literals.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("kafkahub", "subscriptions", "delivery", "gateway")
EGRESS_AND_DELIVERY = ("kafkahub/egress/", "delivery/")

_EVENT = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")
_CODE = re.compile(r"[a-z]+(_[a-z]+)*")
_OUTCOME = re.compile(r"(dns|tcp|tls|timeout)_[a-z_]+")
_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "write", "log"})
_LOGGERS = re.compile(r"_?log(ger)?|write")
_METRICS = frozenset({"counter", "gauge", "histogram"})
_FAULTS = frozenset({"Fault", "BadValue", "note"})


@dataclass(frozen=True, slots=True)
class Module:
    """One file of ours; ``path`` is relative to the root of the project."""

    path: str
    tree: ast.Module


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric; ``name`` is the full name of its series."""

    name: str
    kind: str
    sentence: str
    labels: tuple[str, ...]


def modules(root: Path) -> list[Module]:
    """Return every module of the product, migrations left out, by path."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if "migrations" not in path.parts:
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found.append(Module(path.relative_to(root).as_posix(), tree))
    return found


def log_events(found: list[Module]) -> dict[str, list[str]]:
    """Return the places, by event, where a line with that event is logged."""
    places: dict[str, list[str]] = {}
    for module in found:
        for event in sorted(set(_events(module.tree))):
            places.setdefault(event, []).append(module.path)
    return dict(sorted(places.items()))


def metrics(found: list[Module], prefix: str) -> list[Metric]:
    """Return every metric that is declared through ``metrics.counter`` and its kin, by name."""
    declared = [
        _metric(node, prefix)
        for module in found
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _is_declaration(node)
    ]
    return sorted(declared, key=lambda metric: metric.name)


def fault_codes(found: list[Module]) -> set[str]:
    """Return every code that an entry of ``errors`` may have."""
    return {code for module in found for code in _codes(module.tree)}


def outcomes(found: list[Module]) -> set[str]:
    """Return the names of outcomes that carry their phase in their name."""
    return {text for text in texts(found) if _OUTCOME.fullmatch(text)}


def texts(found: list[Module]) -> set[str]:
    """Return every string literal of the modules that send."""
    return {
        node.value
        for module in found
        if module.path.startswith(EGRESS_AND_DELIVERY)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _events(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _LEVELS and _is_logger(node.func):
            yield from _matching(node.args[:1], _EVENT)
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            if "event" in keys:
                yield from _matching([node.values[keys.index("event")]], _EVENT)


def _codes(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_fault(node.func):
            yield from _matching(node.args[:2], _CODE)
        elif isinstance(node, ast.FunctionDef) and node.name == "_fault":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Tuple):
                    yield from _matching(inner.value.elts[:1], _CODE)
        elif isinstance(node, ast.AnnAssign) and _name(node.target) == "CODES":
            values = node.value.values if isinstance(node.value, ast.Dict) else []
            yield from _matching(values, _CODE)


def _is_fault(function: ast.expr) -> bool:
    if _name(function) in _FAULTS:
        return True
    if not isinstance(function, ast.Attribute) or function.attr in {"append", "get"}:
        return False
    return "fault" in _name(function.value).lower()


def _is_logger(function: ast.expr) -> bool:
    owner = function.value if isinstance(function, ast.Attribute) else function
    return bool(_LOGGERS.fullmatch(_name(owner))) or "get_logger" in ast.dump(owner)


def _is_declaration(node: ast.Call) -> bool:
    function = node.func
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _METRICS
        and _name(function.value) == "metrics"
    ) or (_name(function) in _METRICS and _has_literals(node))


def _has_literals(node: ast.Call) -> bool:
    return len(list(_matching(node.args[:1], _CODE))) == 1


def _metric(node: ast.Call, prefix: str) -> Metric:
    name, sentence, *rest = (ast.literal_eval(argument) for argument in node.args)
    for keyword in node.keywords:
        if keyword.arg == "labels":
            rest = [ast.literal_eval(keyword.value)]
    labels = tuple(rest[0]) if rest else ()
    return Metric(f"{prefix}{name}", _name(node.func), sentence, labels)


def _matching(nodes: list[ast.expr], pattern: re.Pattern[str]) -> Iterator[str]:
    for node in nodes:
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and pattern.fullmatch(text):
            yield text


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
