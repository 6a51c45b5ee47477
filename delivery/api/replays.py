"""``/replays``: records sent again, between two places or from the parked ones."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from delivery import replay_view, replays
from delivery.api import filters
from delivery.api.replay_forms import ReplayIn, ReplayOut
from delivery.replays import Spans, Wish
from kafkahub.drf import pages, parameters
from kafkahub.drf.fields import Moment, Values
from kafkahub.drf.operations import Operation
from kafkahub.errors import Conflict, Fault, NotFound
from subscriptions import ownership, starts
from subscriptions.api import places
from subscriptions.api.base import PartnerView
from subscriptions.audit import Actor
from subscriptions.models import Endpoint, Replay, Subscription
from subscriptions.starts import Start

REPLAY: Mapping[str, object] = {
    "id": "rep_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "state": "ready",
    "reason": None,
    "blocked_by": None,
    "subscription": "sub_01jd0q2v7kz3v1m8x9c4b5n6a7",
    "endpoint": None,
    "source": {"kafka": {"from": "earliest", "to": "latest"}},
    "filter": {},
    "only_missing": False,
    "rate_per_s": None,
    "auto_start": False,
    "dry_run": {
        "count": 1204,
        "exact": True,
        "bytes": 512000,
        "duration_s": 2,
        "first_at": "2026-11-22T04:19:00.123Z",
        "last_at": "2026-11-23T04:19:00.123Z",
        "already_delivered": 1198,
        "order": "late",
    },
    "progress": {
        "scanned": 0,
        "matched": 0,
        "sent": 0,
        "delivered": 0,
        "failed": 0,
        "parked": 0,
        "remaining": 1204,
        "percent": 0.0,
        "eta_s": None,
        "rate_per_s": 0.0,
    },
    "gaps": [],
    "version": 1,
    "created_at": "2026-11-23T04:19:00.123Z",
    "started_at": None,
    "ended_at": None,
}
Move = Callable[[Actor, Replay], Replay]


class Replays(PartnerView):
    tag = "replays"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listReplays",
            summary="Your replays, newest first; kept for 30 days",
            scope="deliveries:read",
            query=(
                parameters.choice("state", "Only those.", Replay.State.values),
                parameters.text("subscription", "Only those of this subscription.", longest=40),
            ),
            answer=ReplayOut,
            is_list=True,
            answered=REPLAY,
        ),
        "POST": Operation(
            id="createReplay",
            summary="Count what would be sent again; start it then, or let it start by itself",
            scope="deliveries:write",
            body=ReplayIn,
            answer=ReplayOut,
            status=201,
            codes=(
                "start_not_available",
                "not_allowed_by_grant",
                "limit_reached",
                "invalid_filter",
                "invalid_cursor",
                "out_of_range",
                "bad_combination",
                "not_found",
            ),
            example={
                "subscription": "sub_01jd0q2v7kz3v1m8x9c4b5n6a7",
                "source": {"kafka": {"from": "first_failure"}},
            },
            answered={**REPLAY, "state": "counting", "dry_run": None},
        ),
    }

    def get(self, _: Request) -> HttpResponse:
        rows = ownership.replays_of(self.partner)
        for name in ("state", "subscription"):
            if value := self.arguments.text(name):
                rows = rows.filter(**{name: value})
        found, next_cursor = pages.take(rows, self.page(self.partner))
        return self.listed([_shown(self, row) for row in found], next_cursor)

    def post(self, _: Request) -> HttpResponse:
        values = self.values()
        subscription = self._subscription(values["subscription"])
        endpoint = self._endpoint(values.get("endpoint"))
        telling = ownership.telling_of(self.partner)
        places.check_shown(telling, subscription.topics, (), values["filter"])
        where = self._spans(subscription, values["source"])
        wish = Wish(
            kind=next(iter(values["source"])),
            source=_source_json(values["source"]),
            filter=values["filter"],
            endpoint=endpoint,
            only_missing=values["only_missing"],
            rate_per_s=values["rate_per_s"],
            auto_start=values["auto_start"],
        )

        def work() -> HttpResponse:
            made = replays.create(self.actor, subscription, wish, where)
            row = ownership.get_replay(self.partner, made.pk)
            place = f"{self.django_request.path}/{row.pk}"
            return self.single(_shown(self, row), row.version, 201, {"Location": place})

        return self.commit(work)

    def _subscription(self, named: str) -> Subscription:
        try:
            row = ownership.get_subscription(self.partner, named)
        except NotFound:
            raise _missing("/subscription") from None
        if row.mode != Subscription.Mode.WEBHOOK:
            raise Conflict("Only a subscription of records can be replayed.")
        return row

    def _endpoint(self, named: str | None) -> Endpoint | None:
        if named is None:
            return None
        try:
            row = ownership.get_endpoint(self.partner, named)
        except NotFound:
            raise _missing("/endpoint") from None
        if row.status != Endpoint.Status.ACTIVE:
            raise Conflict(f"The endpoint is {row.status}; a replay needs one that is active.")
        return row

    def _spans(self, subscription: Subscription, source: Values) -> Spans:
        """Return what to read, by partition; asks Kafka, so before the transaction."""
        if "kafka" not in source:
            return {}
        at = "/source/kafka"
        first, last = (
            self._opened(subscription, source["kafka"][name], f"{at}/{name}")
            for name in ("from", "to")
        )
        return replays.spans(subscription, first, last, starts.process_admin(), at)

    def _opened(self, subscription: Subscription, place: Start, at: str) -> Start:
        places.check_offsets(self.principal, place, subscription.topics, at)
        return places.opened(place, self.partner, subscription.topics, at)


class OneReplay(PartnerView):
    tag = "replays"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getReplay",
            summary="A replay: what was counted, and how far it is",
            scope="deliveries:read",
            answer=ReplayOut,
            has_version=True,
            answered=REPLAY,
        )
    }

    def get(self, _: Request, replay: str) -> HttpResponse:
        row = ownership.get_replay(self.partner, replay)
        shown = _shown(self, row)
        return self.single(shown, filters.version_of(shown))


class _Moved(PartnerView):
    """The base of routes that change a replay's state."""

    tag = "replays"
    move: ClassVar[Move]

    def post(self, _: Request, replay: str) -> HttpResponse:
        row = ownership.get_replay(self.partner, replay)
        self.expect_no_body()

        def work() -> HttpResponse:
            type(self).move(self.actor, row)
            shown = _shown(self, ownership.get_replay(self.partner, replay))
            return self.single(shown, filters.version_of(shown))

        return self.commit(work)


def _operation(name: str, summary: str, state: str) -> Mapping[str, Operation]:
    return {
        "POST": Operation(
            id=f"{name}Replay",
            summary=summary,
            scope="deliveries:write",
            answer=ReplayOut,
            codes=("conflict",),
            answered={**REPLAY, "state": state, "version": 2},
        )
    }


class StartReplay(_Moved):
    move = replays.start
    operations = _operation("start", "Let a counted replay run", "running")


class PauseReplay(_Moved):
    move = replays.pause
    operations = _operation("pause", "Send nothing more of it until it is resumed", "paused")


class ResumeReplay(_Moved):
    move = replays.resume
    operations = _operation("resume", "Go on where it was paused", "running")


class CancelReplay(_Moved):
    move = replays.cancel
    operations = _operation("cancel", "End it; what was sent stays sent", "cancelled")


def _shown(view: PartnerView, row: Replay) -> Mapping[str, Any]:
    telling = ownership.telling_of(view.partner)
    data: dict[str, Any] = ReplayOut(replay_view.shown(row), context={"telling": telling}).data
    if not telling.placed.issuperset(row.subscription.topics):
        data["progress"]["scanned"] = None
    return data


def _source_json(source: Values) -> dict[str, object]:
    """Return the source as it was asked for."""
    if "kafka" in source:
        asked = source["kafka"]
        return {"kafka": {name: starts.as_json(asked[name]) for name in ("from", "to")}}
    parked = dict(source["parked"])
    for name in ("since", "until"):
        if name in parked:
            parked[name] = Moment().to_representation(parked[name])
    return {"parked": parked}


def _missing(pointer: str) -> Exception:
    text = "There is nothing of this name that this credential may see."
    error = NotFound()
    error.faults = (Fault(pointer, "not_found", text),)
    return error
