"""The three parts together, and the settings a product on top of them gets."""

from collections.abc import Mapping
from dataclasses import dataclass

from kafkahub.devstack import kafka, postgres, redis
from kafkahub.devstack.material import variables
from kafkahub.devstack.parts import Site, wait_for
from kafkahub.devstack.processes import Processes


@dataclass(frozen=True, slots=True)
class Stack:
    """Parts that answer.

    kafka   ``apache`` or ``memory``
    labels  what the terminal says about each part
    """

    database_url: str
    redis_url: str
    bootstrap: str
    kafka: str
    labels: tuple[str, ...]


def start(processes: Processes, site: Site, material: Mapping[str, str]) -> Stack:
    """Start the parts side by side and return when all of them answer.

    Raises StartFailed when one cannot be had, stops or does not answer.
    """
    site.folder.mkdir(parents=True, exist_ok=True)
    site.logs.mkdir(parents=True, exist_ok=True)
    password = material["part_password"]
    broker, kind = kafka.part(site)
    parts = (broker, postgres.part(site, password), redis.part(site, password))
    children = [processes.start(part.program) if part.program else None for part in parts]
    addresses = [wait_for(part, child) for part, child in zip(parts, children, strict=True)]
    return Stack(
        bootstrap=addresses[0],
        database_url=addresses[1],
        redis_url=addresses[2],
        kafka=kind,
        labels=tuple(part.label for part in (parts[1], parts[2], parts[0])),
    )


def settings(stack: Stack, material: Mapping[str, str], environment: str) -> dict[str, str]:
    """Return the variables of a product on these parts, endpoints on this machine allowed."""
    return {
        **variables(material),
        "KAFKAHUB_ENVIRONMENT": environment,
        "KAFKAHUB_DATABASE_URL": stack.database_url,
        "KAFKAHUB_REDIS_URL": stack.redis_url,
        "KAFKAHUB_KAFKA_BOOTSTRAP": stack.bootstrap,
        "KAFKAHUB_EGRESS_ALLOW_HTTP": "true",
        "KAFKAHUB_EGRESS_ALLOW_LOOPBACK": "true",
    }
