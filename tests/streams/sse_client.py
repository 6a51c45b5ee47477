"""Reads a stream with httpx-sse, resuming by its last id as its manual says; prints each number."""

import json
import sys
import time

import httpx  # noqa: TID251 - a client that is not ours is what this tests
from httpx_sse import EventSource, connect_sse


def follow(client: httpx.Client, url: str, count: int) -> None:
    """Print the numbers of ``count`` records, over as many connections as it takes."""
    last_id, seen, wait_ms = "", 0, 1_000
    while seen < count:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        try:
            with connect_sse(client, "GET", url, headers=headers) as source:
                last_id, seen, wait_ms = read(source, last_id, seen, count)
        except httpx.TransportError:
            pass
        time.sleep(wait_ms / 1_000)


def say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def read(source: EventSource, last_id: str, seen: int, count: int) -> tuple[str, int, int]:
    """Print what one connection brings; return the last id, the count, and how long to wait."""
    wait_ms = 1_000
    try:
        for event in source.iter_sse():
            wait_ms = event.retry or wait_ms
            last_id = event.id or last_id
            if event.event == "message":
                say(json.loads(event.data)["value"]["n"])
                seen += 1
                if seen >= count:
                    break
            elif event.event == "heartbeat":
                say("ready")
    except httpx.TransportError:
        pass
    return last_id, seen, wait_ms


if __name__ == "__main__":
    with httpx.Client(timeout=60) as browser:
        follow(browser, sys.argv[1], int(sys.argv[2]))
