"""Plain functions that make what a test needs; every member may be named, none must be."""

from contextlib import closing
from typing import Any

import psycopg
from django.db import connection

from kafkahub import ids
from subscriptions.models import Endpoint, Grant, Partner, Subscription, Topic


def partner(name: str = "") -> Partner:
    return Partner.objects.create(name=name or ids.new("acme"))


def topic(name: str = "orders", **members: object) -> Topic:
    made, _ = Topic.objects.get_or_create(name=name, defaults=members)
    return made


def grant(owner: Partner, topic_name: str = "orders") -> Grant:
    return Grant.objects.create(partner=owner, topic=topic(topic_name))


def endpoint(owner: Partner, url: str = "https://hooks.example.com/in") -> Endpoint:
    return Endpoint.objects.create(partner=owner, name="hook", url=url)


def subscription(
    owner: Partner, target: Endpoint | None = None, topics: tuple[str, ...] = ("orders",)
) -> Subscription:
    return Subscription.objects.create(
        partner=owner, endpoint=target or endpoint(owner), name="orders", topics=list(topics)
    )


def connect() -> closing[psycopg.Connection[tuple[Any, ...]]]:
    """Return a connection of its own to the test's database, in autocommit mode."""
    settings = connection.settings_dict
    return closing(
        psycopg.connect(
            dbname=settings["NAME"],
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            autocommit=True,
        )
    )
