"""The sample traffic of ``make dev``: a partner with all it needs, a receiver, a producer."""

import functools
import json
import secrets
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from kafkahub import clock, config
from kafkahub.devstack import receiver, samples
from kafkahub.devstack.material import write_private
from kafkahub.kafka.admin import Admin
from kafkahub.kafka.options import admin_options, producer_options
from kafkahub.kafka.producer import Producer
from subscriptions import keys, starts, verification
from subscriptions.actions import endpoints, members, partners, subscriptions, topics
from subscriptions.actions import keys as key_actions
from subscriptions.actions.keys import Rights
from subscriptions.audit import Actor, ActorKind
from subscriptions.authentication import api_key
from subscriptions.models import (
    ApiKey,
    Endpoint,
    Grant,
    Partner,
    Role,
    SigningSecret,
    Subscription,
    Topic,
)

ACTOR = Actor(ActorKind.SYSTEM, "demo")
PARTNER = "Acme"
OPERATOR = "operator"
MEMBER = "ana@acme.example"
KEY_NAME = "make dev"
ENDPOINT_NAME = "sample receiver"
SUBSCRIPTION_NAME = "everything"
SCOPES = frozenset(
    {
        "topic:*:read",
        "topic:*:write",
        "webhooks:read",
        "webhooks:write",
        "deliveries:read",
        "deliveries:write",
        "keys:manage",
    }
)
TOPIC_DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is shown once, kept between two runs in a file only its owner can read."""

    api_key: str
    admin_password: str
    member_password: str = ""


class Command(BaseCommand):
    """``manage.py demo seed|receiver|produce``."""

    help = "Sample traffic for development: a partner, a receiver that verifies, a producer."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        seed = actions.add_parser("seed", help="make partner, topics, key, endpoint, subscription")
        seed.add_argument("--receiver", required=True, help="URL of the sample receiver")
        seed.add_argument("--state", type=Path, required=True, help="file for what is shown once")
        seed.add_argument("--migrate", action="store_true", help="make the tables first")
        listen = actions.add_parser("receiver", help="verify deliveries and print them")
        listen.add_argument("--port", type=int, required=True, help="port to listen on")
        produce = actions.add_parser("produce", help="write sample records")
        produce.add_argument("--rate", type=float, default=5.0, help="records a second")

    def handle(self, *_: object, **options: Any) -> None:
        if config.load().environment != "dev":
            raise CommandError("Only for development: set KAFKAHUB_ENVIRONMENT=dev.")
        match options["action"]:
            case "seed":
                if options["migrate"]:
                    call_command("migrate", verbosity=0)
                self.stdout.write(json.dumps(seed(options["receiver"], options["state"])))
            case "receiver":
                listen(options["port"])
            case _:
                produce(options["rate"])


def seed(receiver_url: str, state: Path) -> dict[str, object]:
    """Make what is not there yet and return what ``make dev`` prints.

    state  the file that keeps what is shown once, for the next run
    """
    partner = Partner.objects.filter(name=PARTNER).first()
    partner = partner or partners.create_partner(ACTOR, PARTNER)
    for name, description in samples.TOPICS.items():
        _expose(partner, name, description)
    _expose(partner, samples.OWN, samples.OWN_DESCRIPTION, Grant.Action.READ, Grant.Action.WRITE)
    endpoint = _endpoint(partner, verification.admit_url(receiver_url, partner.id))
    _subscribe(partner, endpoint)
    kept = _keep(partner, state)
    return {
        "partner_id": partner.id,
        "partner_name": partner.name,
        "api_key": kept.api_key,
        "endpoint_id": endpoint.id,
        "admin_user": OPERATOR,
        "admin_password": kept.admin_password,
        "member": MEMBER,
        "member_password": kept.member_password,
        "topics": list(samples.TOPICS),
    }


def listen(port: int) -> None:
    """Serve the sample receiver until stopped."""
    diary = receiver.Diary(live_secrets, _print_line)
    with receiver.server(port, diary) as server:
        server.serve_forever()


def produce(rate: float) -> None:
    """Write samples until SIGTERM or Ctrl-C."""
    pace = samples.Pace(Producer(producer_options(config.load())), rate)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: pace.stop.set())
    pace.run()


def _expose(partner: Partner, name: str, description: str, *actions: Grant.Action) -> None:
    """Make the topic in Kafka and in our tables, and grant it; to read where nothing is said."""
    _admin().create_topic(name, samples.PARTITIONS, deadline_s=TOPIC_DEADLINE_S)
    topic = Topic.objects.filter(name=name).first()
    topic = topic or topics.create_topic(ACTOR, name, description=description)
    for action in actions or (Grant.Action.READ,):
        if not Grant.objects.filter(partner=partner, topic=topic, action=action).exists():
            topics.create_grant(ACTOR, partner, topic, action=action)


def _endpoint(partner: Partner, url: str) -> Endpoint:
    """Return the sample receiver's endpoint, moved when its port is another one today."""
    found = Endpoint.objects.filter(partner=partner, name=ENDPOINT_NAME).first()
    if found is not None:
        return endpoints.update_endpoint(ACTOR, found, {"url": url})
    return endpoints.create_endpoint(ACTOR, partner.id, name=ENDPOINT_NAME, url=url)[0]


def _subscribe(partner: Partner, endpoint: Endpoint) -> None:
    if Subscription.objects.filter(endpoint=endpoint, name=SUBSCRIPTION_NAME).exists():
        return
    start, names = starts.Latest(), list(samples.TOPICS)
    subscriptions.create_subscription(
        ACTOR,
        partner.id,
        endpoint=endpoint,
        name=SUBSCRIPTION_NAME,
        topics=names,
        start=start,
        fixed=starts.fix(start, names, _admin()),
    )


def _keep(partner: Partner, state: Path) -> Kept:
    """Return key and password of the last run if they still hold, else fresh ones."""
    before = Kept(**json.loads(state.read_text(encoding="utf-8"))) if state.exists() else None
    now = Kept(
        api_key=_key(partner, before.api_key if before else ""),
        admin_password=_operator(before.admin_password if before else ""),
        member_password=_member(partner, before.member_password if before else ""),
    )
    write_private(state, json.dumps(asdict(now)))
    return now


def _key(partner: Partner, before: str) -> str:
    """Return the partner's API key; one that no longer opens anything is replaced."""
    parsed = keys.parse(before)
    known = api_key.look_up(parsed) if parsed else None
    if known is not None and not known.refusal and known.expires_at > clock.now():
        return before
    for row in ApiKey.objects.filter(partner=partner, name=KEY_NAME).live():
        key_actions.revoke_key(ACTOR, row, "its text is lost")
    rights = Rights(mode=ApiKey.Mode.LIVE, scopes=SCOPES, topics=None, cidrs=frozenset())
    return key_actions.create_key(ACTOR, partner.id, name=KEY_NAME, rights=rights)[1]


def _operator(before: str) -> str:
    """Return the password of an operator who may do everything."""
    if not User.objects.filter(username=OPERATOR).exists():
        User.objects.create_superuser(OPERATOR)
    return _password(OPERATOR, before)


def _member(partner: Partner, before: str) -> str:
    """Return the password of the partner's sample member, who may do everything there."""
    user = User.objects.filter(username=MEMBER).first()
    if user is None:
        user = User.objects.create_user(MEMBER, MEMBER)
        invitation, _ = members.invite(ACTOR, partner, MEMBER, Role.OWNER)
        members.join(ACTOR, invitation, user)
    return _password(MEMBER, before)


def _password(name: str, before: str) -> str:
    """Return the password of the last run if it still holds, else a fresh one."""
    user = User.objects.get(username=name)
    if before and user.check_password(before):
        return before
    password = secrets.token_urlsafe(12)
    user.set_password(password)
    user.save(update_fields=["password"])
    return password


def live_secrets() -> list[str]:
    """Return what signs now: all secrets of a rotation, so the receiver follows it."""
    rows = SigningSecret.objects.filter(
        endpoint__name=ENDPOINT_NAME, endpoint__partner__name=PARTNER, kind=SigningSecret.Kind.HMAC
    ).signing()
    found = [row.secret.reveal() for row in rows]
    connection.close()  # each request has a thread of its own, and so its own connection
    return found


@functools.cache
def _admin() -> Admin:
    return Admin(admin_options(config.load()))


def _print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
