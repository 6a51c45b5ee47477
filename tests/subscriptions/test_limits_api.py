"""The control API keeps keys to their rates and says where they stand."""

from typing import Any

import pytest
from django.test import Client

from kafkahub.limits import policies
from subscriptions import limiting, usage
from subscriptions.authentication import chain
from subscriptions.models import Plan, UsageHour
from tests import factories
from tests.api import BASE, Caller, json_of


def plan(per_s: float, burst: int, policy: str = "requests", **members: object) -> Plan:
    rules = {"key": {policy: {"per_s": per_s, "burst": burst}}}
    return Plan.objects.create(name=f"{policy} {burst}", rules=rules, **members)


@pytest.fixture
def whole_share() -> None:
    """Let this process be the only one, so that its share is the whole."""
    limiting.process_limiter()._company.processes = 1


def test_every_answer_to_a_known_key_says_where_it_stands(alice: Caller, whole_share: None) -> None:
    plan(0.01, 200, is_default=True)
    good, bad = alice.get("/partner"), alice.get("/endpoints/ep_nothing")

    assert good.headers["RateLimit-Policy"] == '"requests";q=200;w=20000'
    assert good.headers["RateLimit"] == '"requests";r=199;t=100'
    assert bad.status_code == 404
    assert bad.headers["RateLimit"] == '"requests";r=198;t=200'


def test_a_write_counts_for_its_own_policy_too(alice: Caller, whole_share: None) -> None:
    plan(0.01, 50, "control", is_default=True)
    answer = alice.post("/endpoints", {"name": "x"})

    assert answer.headers["RateLimit-Policy"] == '"requests";q=200;w=2, "control";q=50;w=5000'
    assert answer.headers["RateLimit"].startswith('"control";r=49;t=100, "requests";')


def test_one_request_too_many_is_a_429_that_says_when_and_why(
    alice: Caller, whole_share: None
) -> None:
    plan(0.04, 3, is_default=True)
    answers = [alice.get("/partner") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert json_of(refused)["code"] == "rate_limited"
    assert json_of(refused)["violated-policies"] == ["requests"]
    assert refused.headers["Retry-After"] == "25"
    assert refused.headers["RateLimit"] == '"requests";r=0;t=75'


def test_writes_beyond_their_rate_are_refused_and_reads_go_on(
    alice: Caller, whole_share: None
) -> None:
    plan(0.01, 2, "control", is_default=True)
    writes = [alice.post("/endpoints", {}) for _ in range(3)]

    assert [answer.status_code for answer in writes] == [400, 400, 429]
    assert json_of(writes[-1])["violated-policies"] == ["control"]
    assert alice.get("/partner").status_code == 200


def until_refused(client: Client) -> Any:
    """Return the first refusal of a stranger who goes on and on."""
    answers = (client.get(f"{BASE}/partner") for _ in range(2_000))
    return next(answer for answer in answers if answer.status_code != 401)


def test_a_stranger_is_told_nothing_of_limits_and_held_to_its_address(
    db: None, client: Client
) -> None:
    first, refused = client.get(f"{BASE}/partner"), until_refused(client)

    assert first.status_code == 401
    assert "RateLimit" not in first.headers
    assert refused.status_code == 429
    assert json_of(refused)["violated-policies"] == ["anonymous"]


def test_a_right_key_works_where_strangers_are_held_back(alice: Caller, client: Client) -> None:
    until_refused(client)

    assert alice.get("/partner").status_code == 200


@pytest.mark.parametrize("owner", ["partner", "key"])
def test_the_plan_of_the_key_wins_over_the_partners_and_this_over_the_default(
    alice: Caller, owner: str, whole_share: None
) -> None:
    plan(1, 1, is_default=True)
    alice.partner.plan = plan(1, 500)
    alice.partner.save()
    if owner == "key":
        alice.row.plan = plan(1, 900)
        alice.row.save()

    answer = alice.get("/partner")

    quota = {"partner": 500, "key": 900}[owner]
    assert answer.headers["RateLimit-Policy"].startswith(f'"requests";q={quota};')


def test_the_plan_of_a_key_cannot_lift_what_its_partner_shares(
    alice: Caller, whole_share: None
) -> None:
    def rule(burst: int) -> dict[str, object]:
        return {"partner": {"requests": {"per_s": 1, "burst": burst}}}

    alice.partner.plan = Plan.objects.create(name="narrow", rules=rule(2))
    alice.partner.save()
    alice.row.plan = Plan.objects.create(name="wide", rules=rule(1_000))
    alice.row.save()

    statuses = [alice.get("/partner").status_code for _ in range(3)]

    assert statuses == [200, 200, 429]


def test_rates_of_the_deployment_come_from_the_default_plan_alone(alice: Caller) -> None:
    rule = {"deployment": {"requests": {"per_s": 1, "burst": 7}}}
    alice.partner.plan = Plan.objects.create(name="own", rules=rule)
    alice.partner.save()
    before = alice.get("/partner").headers["RateLimit-Policy"]
    Plan.objects.create(name="default", is_default=True, rules=rule)

    after = factories.caller(alice.partner, "fresh").get("/partner").headers["RateLimit-Policy"]

    assert before.startswith('"requests";q=200')
    assert after.startswith('"requests";q=7')


def test_what_was_used_is_counted_and_listed(alice: Caller) -> None:
    usage.process_usage().flush()
    UsageHour.objects.all().delete()
    alice.get("/partner")
    alice.post("/endpoints", {})
    usage.process_usage().flush()
    usage.process_usage().note(
        alice.partner.id, "sse", usage.Used(records_out=5, bytes_out=90), "orders"
    )
    usage.process_usage().flush()

    rows = json_of(alice.get("/usage"))["data"]

    assert [(row["topic"], row["door"]) for row in rows] == [("orders", "sse"), ("", "control")]
    assert rows[0]["records_out"] == 5
    assert rows[1]["requests"] == 2
    assert rows[1]["bytes_in"] == 2
    assert rows[1]["bytes_out"] > 100


def test_usage_is_paged_narrowed_and_shown_by_the_hour(alice: Caller) -> None:
    for hour in range(3):
        for topic in ("", "orders"):
            UsageHour.objects.create(
                partner=alice.partner,
                hour=f"2026-11-2{hour}T0{hour}:00:00Z",
                door="rest",
                topic=topic,
                requests=1,
            )

    first = json_of(alice.get("/usage?limit=4"))
    second = json_of(alice.get(f"/usage?limit=4&cursor={first['next_cursor']}"))
    hours = json_of(alice.get("/usage?per=hour&topic=orders&since=2026-11-21T00:00:00Z"))["data"]

    periods = [row["period"] for row in first["data"] + second["data"]]
    assert len(periods) == 6
    assert periods == sorted(periods, reverse=True)
    assert second["next_cursor"] is None
    assert [row["period"] for row in hours] == [
        "2026-11-22T02:00:00.000Z",
        "2026-11-21T01:00:00.000Z",
    ]


def test_nobody_sees_what_others_used_or_topics_that_do_not_exist_for_them(
    alice: Caller, charlie: Caller
) -> None:
    for topic in ("orders", "secret"):
        usage.process_usage().note(alice.partner.id, "rest", usage.Used(requests=1), topic)
    usage.process_usage().flush()

    assert [row["topic"] for row in json_of(alice.get("/usage"))["data"]] == ["orders"]
    assert json_of(charlie.get("/usage"))["data"] == []


@pytest.mark.django_db(transaction=True)
def test_a_changed_plan_holds_for_keys_that_are_known_already(alice: Caller) -> None:
    default = plan(1, 500, is_default=True)
    before = alice.get("/partner").headers["RateLimit-Policy"]

    Plan.objects.filter(pk=default.pk).update(
        rules={"key": {"requests": {"per_s": 1, "burst": 900}}}
    )
    chain.process_chain.looked_s = float("-inf")  # as if a poll's time had passed

    after = alice.get("/partner").headers["RateLimit-Policy"]
    assert (before, after) == ('"requests";q=500;w=500', '"requests";q=900;w=900')


def test_every_rate_of_a_plan_is_a_policy() -> None:
    assert set(policies.STANDARD_RATES) == set(policies.POLICIES)
