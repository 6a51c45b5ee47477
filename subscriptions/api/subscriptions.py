"""``/subscriptions``: which records go to which endpoint."""

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Values
from kafkahub.drf.operations import Operation
from kafkahub.drf.parameters import Arguments
from kafkahub.errors import Fault, NotFound
from subscriptions import ownership, starts
from subscriptions.actions import subscriptions as actions
from subscriptions.api import places
from subscriptions.api.base import PartnerView
from subscriptions.api.kinds import check_kind
from subscriptions.audit import Actor
from subscriptions.inputs import wrong
from subscriptions.models import Endpoint, Subscription
from subscriptions.models.partners import MAX_NAME
from subscriptions.serializers import (
    PENDING,
    SubscriptionIn,
    SubscriptionOut,
    SubscriptionPatch,
)
from subscriptions.starts import Starts

SUBSCRIPTION: Mapping[str, object] = {
    "id": "sub_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "kind": "webhook",
    "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "name": "orders",
    "status": "active",
    "status_reason": None,
    "topics": ["orders"],
    "types": [],
    "filter": {"value": {"amount": {"$gte": 100}}},
    "filter_language": "json",
    "format": "envelope",
    "include": [],
    "ordering": "none",
    "batch": None,
    "retry": {"schedule": [5, 300, 1800], "jitter": 0.2, "on_exhausted": "dead_letter"},
    "rate_per_s": None,
    "trace": True,
    "start": "latest",
    "position": None,
    "version": 1,
    "created_at": "2026-11-23T04:19:00.123Z",
    "updated_at": "2026-11-23T04:19:00.123Z",
}
MADE: Mapping[str, object] = {**SUBSCRIPTION, "position": {"offsets": {"orders": {"0": 42}}}}
WITHOUT_IDS = frozenset({Subscription.Format.RAW, Subscription.Format.CLOUDEVENTS_BINARY})
CHANGE_CODES = ("invalid_filter", "bad_combination", "out_of_range", "not_found")
Move = Callable[[Actor, Subscription], Subscription]


class Subscriptions(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listSubscriptions",
            summary="Your subscriptions",
            scope="webhooks:read",
            query=(
                parameters.choice("status", "Only those.", (*Subscription.Status.values, PENDING)),
                parameters.text("endpoint", "Only those that send there."),
                parameters.text("topic", "Only those of this topic."),
            ),
            answer=SubscriptionOut,
            is_list=True,
            answered=SUBSCRIPTION,
        ),
        "POST": Operation(
            id="createSubscription",
            summary="Make a subscription; every record appended after the answer is owed",
            scope="webhooks:write",
            body=SubscriptionIn,
            answer=SubscriptionOut,
            status=201,
            codes=(*CHANGE_CODES, "start_not_available", "limit_reached"),
            example={
                "endpoint": "ep_01jd0q2v7kz3v1m8x9c4b5n6a7",
                "topics": ["orders"],
                "filter": {"value": {"amount": {"$gte": 100}}},
            },
            answered=MADE,
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        granted = ownership.readable_names(self.partner)
        rows = _filtered(ownership.subscriptions_of(self.partner), self.arguments, granted)
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([_shown(row, granted) for row in found], next_cursor)

    def post(self, _: Request) -> HttpResponse:
        values = _with_retry(self.values())
        check_kind(values["kind"], values, is_new=True)
        _check_combination(values["format"], values["include"], values["batch"])
        endpoint = self._endpoint(values.pop("endpoint"))
        _check_batch_fits(values["batch"], endpoint)
        self._check_topics(values["topics"])
        telling = ownership.telling_of(self.partner)
        places.check_shown(telling, values["topics"], values["include"], values["filter"])
        places.check_offsets(self.principal, values["start"], values["topics"], "/start")
        start = places.opened(values["start"], self.partner, values["topics"], "/start")
        values["start"] = start
        fixed = starts.begin(values["start"], values["topics"], starts.process_admin())
        return self.commit(lambda: self._create(endpoint, values, fixed))

    def _create(self, endpoint: Endpoint, values: Values, fixed: Starts) -> HttpResponse:
        unkept = {"kind", "filter_language"}
        settings = {name: value for name, value in values.items() if name not in unkept}
        settings["mode"] = values["kind"]
        settings.setdefault("name", (", ".join(values["topics"]) or values["kind"])[:MAX_NAME])
        made = actions.create_subscription(
            self.actor, self.partner, endpoint=endpoint, fixed=fixed, **settings
        )
        row = ownership.get_subscription(self.partner, made.id)
        granted = ownership.readable_names(self.partner)
        place = f"{self.django_request.path}/{row.id}"
        offsets = places.by_topic(fixed, ownership.telling_of(self.partner))
        data = _shown(row, granted, {"offsets": offsets})
        return self.single(data, row.version, 201, {"Location": place})

    def _endpoint(self, endpoint: str) -> Endpoint:
        try:
            return ownership.get_endpoint(self.partner, endpoint)
        except NotFound:
            raise _missing("/endpoint") from None

    def _check_topics(self, topics: Collection[str]) -> None:
        """Raise NotFound alike for topics that are unknown, ungranted or of the other mode."""
        seen = ownership.topics_of(self.principal)
        unseen = [
            f"/topics/{index}"
            for index, name in enumerate(topics)
            if name not in seen or "read" not in seen[name].actions
        ]
        if unseen:
            raise _missing(*unseen)


class OneSubscription(PartnerView):
    tag = "subscriptions"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getSubscription",
            summary="A subscription",
            scope="webhooks:read",
            answer=SubscriptionOut,
            has_version=True,
            answered=SUBSCRIPTION,
        ),
        "PATCH": Operation(
            id="updateSubscription",
            summary="Change a subscription (merge patch); holds for records read afterwards",
            scope="webhooks:write",
            body=SubscriptionPatch,
            answer=SubscriptionOut,
            has_version=True,
            codes=(*CHANGE_CODES, "conflict"),
            example={"filter": {"value": {"amount": {"$gte": 500}}}},
            answered={**SUBSCRIPTION, "filter": {"value": {"amount": {"$gte": 500}}}},
        ),
        "DELETE": Operation(
            id="deleteSubscription",
            summary="Remove a subscription; its attempts stay in the log",
            scope="webhooks:write",
            query=(parameters.flag("discard_parked", "Give up what is parked for it."),),
            status=204,
            has_version=True,
            codes=("in_use",),
        ),
    }

    def get(self, _: Request, subscription: str) -> HttpResponse:
        return self._answer(ownership.get_subscription(self.partner, subscription))

    def patch(self, _: Request, subscription: str) -> HttpResponse:
        seen = ownership.get_subscription(self.partner, subscription)
        self.require_match(seen.version)
        values = _with_retry(self.values(merged={"filter": seen.filter}))
        check_kind(seen.mode, values, is_new=False)
        _check_combination(
            values.get("format", seen.format),
            values.get("include", seen.include),
            values.get("batch", seen.batch),
        )
        telling = ownership.telling_of(self.partner)
        include, filter_ = values.get("include", ()), values.get("filter", {})
        places.check_shown(telling, seen.topics, include, filter_)
        values.pop("filter_language", None)
        return self.commit(lambda: self._update(seen, values))

    def _update(self, seen: Subscription, values: Values) -> HttpResponse:
        locked = ownership.get_subscription(self.partner, seen.id, lock=True)
        self.require_same(seen.version, locked.version)
        if "endpoint" in values:
            if locked.mode == Subscription.Mode.PULL:
                text = "A consumer group has no endpoint: its instances come for the records."
                raise wrong("bad_combination", text, "/endpoint")
            values["endpoint"] = self._endpoint(values["endpoint"])
        if values.get("batch") is not None:
            _check_batch_fits(values["batch"], values.get("endpoint", locked.endpoint))
        actions.update_subscription(self.actor, locked, values)
        return self._answer(ownership.get_subscription(self.partner, seen.id))

    def _endpoint(self, endpoint: str) -> Endpoint:
        try:
            return ownership.get_endpoint(self.partner, endpoint)
        except NotFound:
            raise _missing("/endpoint") from None

    def delete(self, _: Request, subscription: str) -> HttpResponse:
        ownership.get_subscription(self.partner, subscription)
        self.expect_no_body()
        return self.commit(lambda: self._delete(subscription))

    def _delete(self, subscription: str) -> HttpResponse:
        locked = ownership.get_subscription(self.partner, subscription, lock=True)
        self.require_match(locked.version)
        discard = self.arguments.flag("discard_parked")
        actions.delete_subscription(self.actor, locked, discard_parked=discard)
        return HttpResponse(status=204)

    def _answer(self, row: Subscription) -> HttpResponse:
        return self.single(_shown(row, ownership.readable_names(self.partner)), row.version)


class _Moved(PartnerView):
    tag = "subscriptions"
    move: ClassVar[Move]

    def post(self, _: Request, subscription: str) -> HttpResponse:
        ownership.get_subscription(self.partner, subscription)
        self.expect_no_body()
        return self.commit(lambda: self._move(subscription))

    def _move(self, subscription: str) -> HttpResponse:
        locked = ownership.get_subscription(self.partner, subscription, lock=True)
        type(self).move(self.actor, locked)
        row = ownership.get_subscription(self.partner, subscription)
        return self.single(_shown(row, ownership.readable_names(self.partner)), row.version)


class PauseSubscription(_Moved):
    move = actions.pause_subscription
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="pauseSubscription",
            summary="Send nothing more until it is resumed; what comes meanwhile is owed",
            scope="webhooks:write",
            answer=SubscriptionOut,
            answered={**SUBSCRIPTION, "status": "paused", "version": 2},
        )
    }


class ResumeSubscription(_Moved):
    move = actions.resume_subscription
    operations: ClassVar[Mapping[str, Operation]] = {
        "POST": Operation(
            id="resumeSubscription",
            summary="Go on where it was paused",
            scope="webhooks:write",
            answer=SubscriptionOut,
            answered={**SUBSCRIPTION, "version": 3},
        )
    }


def _shown(
    row: Subscription, granted: Collection[str], position: Mapping[str, object] | None = None
) -> Mapping[str, object]:
    return SubscriptionOut(row, context={"granted": granted, "position": position}).data


def _missing(*pointers: str) -> NotFound:
    """Return the refusal of names in a body; it says where, and repeats no name."""
    error = NotFound()
    text = "There is nothing of this name that this credential may see."
    error.faults = tuple(Fault(place, "not_found", text) for place in pointers)
    return error


def _with_retry(values: Values) -> Values:
    """Return the values with ``retry`` as the columns it is kept in."""
    retry = values.pop("retry", {})
    columns = {"schedule": "retry_schedule_s", "jitter": "retry_jitter"}
    return {**values, **{columns.get(name, name): value for name, value in retry.items()}}


def _check_combination(
    form: str, include: Collection[str], batch: Mapping[str, object] | None
) -> None:
    """Raise Invalid where something is asked for that this format has no place for."""
    if batch is not None and form in WITHOUT_IDS:
        text = "The records of a batch need ids, which this format does not have."
        raise wrong("bad_combination", text, "/batch")
    if include and form == Subscription.Format.RAW:
        text = "The format raw is the value alone; include needs another format."
        raise wrong("bad_combination", text, "/include")


def _check_batch_fits(batch: Mapping[str, int] | None, endpoint: Endpoint | None) -> None:
    """Raise Invalid where a batch may be larger than a body of its endpoint."""
    if batch is None or endpoint is None or batch["max_bytes"] <= endpoint.max_body_bytes:
        return
    text = f"A body of this endpoint has at most {endpoint.max_body_bytes} bytes."
    raise wrong("out_of_range", text, "/batch/max_bytes")


def _filtered(
    rows: QuerySet[Subscription], arguments: Arguments, granted: Collection[str]
) -> QuerySet[Subscription]:
    if endpoint := arguments.text("endpoint"):
        rows = rows.filter(endpoint_id=endpoint)
    if topic := arguments.text("topic"):
        rows = rows.filter(topics__contains=[topic])
    if status := arguments.text("status"):
        # As ``suspension`` says it; the partner itself is active, or nobody would ask.
        is_disabled = Q(endpoint__isnull=False, endpoint__status=Endpoint.Status.DISABLED)
        is_unverified = Q(endpoint__isnull=False, endpoint__status=Endpoint.Status.UNVERIFIED)
        held = is_disabled | ~Q(topics__contained_by=sorted(granted))
        if status == Subscription.Status.SUSPENDED:
            return rows.filter(held)
        if status == PENDING:
            return rows.filter(~held & is_unverified)
        rows = rows.filter(~held & ~is_unverified, status=status)
    return rows
