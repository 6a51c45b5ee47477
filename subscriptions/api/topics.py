"""``/topics`` and ``/event-types``: what the grants allow, and nothing that they do not."""

from collections import defaultdict
from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from kafkahub.drf import answers, pages
from kafkahub.drf.operations import Operation
from kafkahub.errors import NotFound
from subscriptions import ownership
from subscriptions.api.base import PartnerView
from subscriptions.grants import Principal
from subscriptions.ownership import SeenTopic
from subscriptions.serializers import EventTypeOut, TopicOut, types_of

TOPIC: Mapping[str, object] = {
    "name": "orders",
    "description": "Orders as they change.",
    "format": "json",
    "content_type": "application/json",
    "types": ["orders"],
    "example": {"id": 7, "amount": 1000},
    "actions": ["read"],
    "is_filtered": False,
    "is_masked": False,
    "version": 1,
}
EVENT_TYPE: Mapping[str, object] = {
    "type": "orders",
    "topics": ["orders"],
    "description": "Orders as they change.",
    "example": {"id": 7, "amount": 1000},
}


class Topics(PartnerView):
    tag = "topics"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listTopics",
            summary="Topics that your grants show",
            scope="",
            answer=TopicOut,
            is_list=True,
            answered=TOPIC,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        seen = ownership.topics_of(self.principal)
        names, next_cursor = pages.take_named(sorted(seen), self.page(self.partner))
        return self.listed([_topic(seen[name]) for name in names], next_cursor)


class OneTopic(PartnerView):
    tag = "topics"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getTopic",
            summary="A topic",
            scope="",
            answer=TopicOut,
            has_version=True,
            answered=TOPIC,
        )
    }

    def get(self, _: Request, topic: str) -> HttpResponse:
        seen = ownership.get_topic(self.principal, topic)
        return self.single(_topic(seen), seen.topic.version)


class EventTypes(PartnerView):
    tag = "topics"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="listEventTypes",
            summary="Event types that are known beforehand",
            scope="",
            answer=EventTypeOut,
            is_list=True,
            answered=EVENT_TYPE,
        )
    }

    def get(self, _: Request) -> HttpResponse:
        types = _event_types(self.principal)
        names, next_cursor = pages.take_named(sorted(types), self.page(self.partner))
        return self.listed([types[name] for name in names], next_cursor)


class OneEventType(PartnerView):
    tag = "topics"
    operations: ClassVar[Mapping[str, Operation]] = {
        "GET": Operation(
            id="getEventType",
            summary="An event type",
            scope="",
            answer=EventTypeOut,
            answered=EVENT_TYPE,
        )
    }

    def get(self, _: Request, event_type: str) -> HttpResponse:
        found = _event_types(self.principal).get(event_type)
        if found is None:
            raise NotFound
        return answers.json(found)


def _topic(seen: SeenTopic) -> Mapping[str, object]:
    return TopicOut(seen).data


def _event_types(principal: Principal) -> dict[str, Mapping[str, object]]:
    by_type: dict[str, list[SeenTopic]] = defaultdict(list)
    for seen in ownership.topics_of(principal).values():
        for event_type in types_of(seen.topic):
            by_type[event_type].append(seen)
    return {
        event_type: EventTypeOut(
            {
                "type": event_type,
                "topics": [seen.topic.name for seen in carriers],
                "description": carriers[0].topic.description,
                "example": carriers[0].example,
            }
        ).data
        for event_type, carriers in by_type.items()
    }
