"""Failpoints: armed by two variables together, once each, and never by a misspelt name."""

import ast
import threading
from pathlib import Path

import pytest

from kafkahub import failpoints
from kafkahub.failpoints import FailpointError, armed, from_environment, parse

NAME = "checkpoint.before_commit"
ROOT = Path(__file__).resolve().parents[2]
PARTS = ("kafkahub", "subscriptions", "delivery", "gateway")
DYING = [
    ROOT / "tests" / "flows" / f"test_{name}.py"
    for name in ("failpoints", "door_failpoints", "job_failpoints", "replays")
]


def hooked(text: str) -> dict[str, str]:
    return {"KAFKAHUB_TEST_HOOKS": "true", "KAFKAHUB_FAILPOINTS": text}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"KAFKAHUB_FAILPOINTS": f"{NAME}=raise"},
        {"KAFKAHUB_FAILPOINTS": f"{NAME}=raise", "KAFKAHUB_TEST_HOOKS": "false"},
        hooked(""),
    ],
)
def test_without_both_variables_nothing_can_happen(environment: dict[str, str]) -> None:
    from_environment(environment)(NAME)


def test_an_armed_failpoint_springs_once() -> None:
    failpoint = from_environment(hooked(f"{NAME}=raise:now"))

    with pytest.raises(FailpointError, match="now"):
        failpoint(NAME)
    failpoint(NAME)


def test_it_springs_at_the_hit_that_was_asked_for() -> None:
    failpoint = from_environment(hooked(f"{NAME}=raise@3"))

    failpoint(NAME)
    failpoint(NAME)
    with pytest.raises(FailpointError):
        failpoint(NAME)


def test_other_failpoints_are_left_alone() -> None:
    from_environment(hooked(f"{NAME}=raise"))("send.after_2xx")


def test_several_are_armed_at_once() -> None:
    traps = parse(f"{NAME}=raise; send.after_2xx=kill@2;")

    assert set(traps) == {NAME, "send.after_2xx"}
    assert (traps["send.after_2xx"].action, traps["send.after_2xx"].nth) == ("kill", 2)


@pytest.mark.parametrize("text", ["checkpoint.typo=raise", f"{NAME}=explode", NAME])
def test_a_typo_stops_the_start_instead_of_looking_like_a_pass(text: str) -> None:
    with pytest.raises(ValueError, match="unknown failpoint"):
        parse(text)


def test_hold_waits_until_its_file_is_gone(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    failpoint = armed(parse(f"{NAME}=hold:{gate}"))
    passed = threading.Event()

    def run() -> None:
        failpoint(NAME)
        passed.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert not passed.wait(0.1)
    gate.unlink()

    assert passed.wait(10)
    thread.join()


def test_every_action_has_a_function() -> None:
    assert {"kill", "stop", "exit", "sleep", "raise", "hold"} == set(failpoints.ACTIONS)


def _called() -> set[str]:
    """Return every name that the product's own code springs."""
    found: set[str] = set()
    for path in (path for part in PARTS for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "failpoint":
                found |= {
                    one.value
                    for one in ast.walk(node)
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


def test_the_list_holds_the_names_in_the_code_and_no_others() -> None:
    assert _called() == failpoints.NAMES


def test_a_process_dies_at_each_name_in_a_test() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in DYING)

    assert {name for name in failpoints.NAMES if f'"{name}' not in told} == set()
