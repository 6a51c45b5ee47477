"""Confluent REST Proxy v2: instances. Every request names its own; none needs its process."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import msgspec

from gateway import confluent, envelopes
from gateway.consumer_settings import check_name, invalid, read_settings
from gateway.patterns import BadPattern, compile_pattern
from gateway.rest.call import Call, Reply
from gateway.rest.parts import Parts, actor_of, granted, visible
from gateway.rest.v2 import refuse_filtered, reply
from gateway.rest.v2_bodies import (
    MAX_TOPIC,
    MAX_TOPICS,
    NOTHING,
    PlacesIn,
    TopicsIn,
    checked_body,
    json_body,
    name_of,
    parts_of,
)
from kafkahub.errors import Forbidden, NotFound
from subscriptions.grants import Grant, Principal
from subscriptions.pull import groups, positions
from subscriptions.pull.groups import Start
from subscriptions.pull.rows import Instance, Name, Part

_places = msgspec.json.Decoder(PlacesIn).decode
_topics = msgspec.json.Decoder(TopicsIn).decode


async def create(parts: Parts, call: Call, group: str) -> Reply:
    principal = call.who
    check_name(group, "the group's name")
    body = await json_body(call)
    settings = read_settings(body)
    instance = settings.name or f"rest-consumer-{call.fresh_id()}"
    await parts.run(
        groups.create_instance,
        actor_of(call, principal),
        name_of(principal, group, instance),
        door="v2",
        settings=settings.stored(),
        timeout=timedelta(milliseconds=settings.timeout_ms),
    )
    uri = f"{parts.public_url}/consumers/{group}/instances/{instance}"
    answer = reply({"instance_id": instance, "base_uri": uri})
    if settings.ignored:
        told = ", ".join(one for one in settings.ignored if one.isascii() and one.isprintable())
        return answer._replace(headers=[(b"kafkahub-ignored", told.encode())])
    return answer


async def delete(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    await parts.consumers.delete(name_of(principal, group, name))
    return NOTHING


async def subscribe(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    own = name_of(principal, group, name)
    asked = envelopes.decode(await checked_body(call), _topics)
    instance = await parts.run(groups.get, own)
    if asked.topics is not None and asked.topic_pattern is not None:
        raise confluent.illegal_state("topics and topic_pattern exclude each other")
    if asked.topics is None and not asked.topic_pattern:
        raise confluent.unprocessable("Give topics or topic_pattern.")
    if instance.manual:
        raise confluent.illegal_state("partitions are assigned; unsubscribe first")
    pattern = asked.topic_pattern or ""
    topics = matching(parts, principal, pattern) if pattern else _wanted(asked.topics or [])
    open_topics = [one for one in topics if is_open(parts, principal, one, by_name=not pattern)]
    starts = await parts.consumers.starts(open_topics, str(instance.settings["reset"]))
    await parts.run(groups.subscribe, own, topics, pattern, starts)
    parts.consumers.forget(instance.group)
    return NOTHING


def _wanted(topics: Sequence[str]) -> list[str]:
    if not topics:
        raise confluent.unprocessable("The topics are empty; DELETE ends a subscription.")
    if len(topics) > MAX_TOPICS or any(len(one) > MAX_TOPIC for one in topics):
        text = f"Up to {MAX_TOPICS} topics are taken, with names of up to {MAX_TOPIC} characters."
        raise confluent.unprocessable(text)
    return list(dict.fromkeys(topics))


def is_open(parts: Parts, principal: Principal, topic: str, *, by_name: bool) -> bool:
    """Return whether a topic may be consumed; one named whose records are hidden is refused."""
    try:
        is_filtered = granted(parts, principal, topic, "read").is_filtered
    except (NotFound, Forbidden):
        return False
    if is_filtered and by_name:
        refuse_filtered(parts, principal, topic)
    return not is_filtered


def matching(parts: Parts, principal: Principal, text: str) -> list[str]:
    """Return the topics that a pattern matches among those that may be read unfiltered.

    Raises Refusal 42204.
    """
    try:
        pattern = compile_pattern(text)
    except BadPattern as error:
        raise invalid(str(error)) from None
    return [
        topic
        for topic in visible(parts, principal)
        if pattern.matches(topic) and is_open(parts, principal, topic, by_name=False)
    ]


async def subscription(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    instance = await parts.run(groups.get, name_of(principal, group, name))
    if instance.pattern:
        return reply({"topics": matching(parts, principal, instance.pattern)})
    return reply({"topics": sorted(instance.topics)})


async def unsubscribe(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    await parts.consumers.unsubscribe(name_of(principal, group, name))
    return NOTHING


async def assign(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    own = name_of(principal, group, name)
    places = parts_of(envelopes.decode(await checked_body(call), _places).partitions)
    instance = await parts.run(groups.get, own)
    if instance.is_subscribed:
        raise confluent.illegal_state("topics are subscribed to; unsubscribe first")
    reset = str(instance.settings["reset"])
    known = await _known(parts, principal, places, reset)
    await parts.run(groups.assign, own, {part: known[part] for part in places})
    return NOTHING


async def _known(
    parts: Parts, principal: Principal, places: Collection[Part], reset: str
) -> Mapping[Part, Start]:
    """Return where partitions begin that may be read. Raises TopicNotFound, Refusal."""
    topics = list(dict.fromkeys(topic for topic, _ in places))
    for topic in topics:
        refuse_filtered(parts, principal, topic)
    known = await parts.consumers.starts(topics, reset)
    for topic, number in places:
        if (topic, 0) not in known:
            raise confluent.topic_not_found()
        if (topic, number) not in known:
            raise confluent.partition_not_found()
    return known


async def assignments(parts: Parts, call: Call, group: str, name: str) -> Reply:
    principal = call.who
    held = await parts.run(positions.held, name_of(principal, group, name))
    return reply({"partitions": [{"topic": topic, "partition": one} for topic, one in held]})


def readable(parts: Parts, principal: Principal, instance: Instance) -> Mapping[str, Grant]:
    """Return the grants by which an instance may read now; a revoked topic gives nothing.

    Raises Refusal 40301 where a named topic hides records since.
    """
    found: dict[str, Grant] = {}
    topics = instance.topics or tuple(visible(parts, principal))
    is_named = instance.is_subscribed and not instance.pattern
    for topic in topics:
        if is_open(parts, principal, topic, by_name=is_named):
            found[topic] = granted(parts, principal, topic, "read")
    return found


async def widen(parts: Parts, principal: Principal, own: Name, instance: Instance) -> bool:
    """Take up topics and partitions that have come since the subscription.

    Returns whether there were any: then the read must be begun anew.
    """
    if not instance.is_subscribed:
        return False
    pattern = instance.pattern
    topics = matching(parts, principal, pattern) if pattern else list(instance.topics)
    opened = [one for one in topics if is_open(parts, principal, one, by_name=False)]
    reset = str(instance.settings["reset"])
    fresh = await parts.consumers.fresh_parts(instance.group, opened, reset)
    if not fresh and topics == list(instance.topics):
        return False
    await parts.run(groups.widen, own, topics, fresh)
    parts.consumers.forget(instance.group)
    return True
