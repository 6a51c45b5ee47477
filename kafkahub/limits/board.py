"""A board in Redis: each process puts up its own notes, all read them, dead ones vanish."""

import time
from collections.abc import Callable, Mapping

import redis

DEADLINE_S = 1.0
"""Longest wait for Redis: a page that shows less is better than one that hangs."""
EXPIRED = (redis.RedisError, OSError)


class BoardAway(Exception):
    """Redis did not answer in time; nothing is known of other processes."""


class Board:
    """The notes of one kind. Threads may share it.

    name   what the board is about, the front of its keys
    clock  Unix time in s, by which notes of dead processes are no longer looked for
    """

    def __init__(self, url: str, name: str, clock: Callable[[], float] = time.time) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=DEADLINE_S, socket_connect_timeout=DEADLINE_S
        )
        self._name = f"kh:{name}"
        self._clock = clock

    def put(self, process: str, notes: Mapping[str, bytes], life_s: int) -> None:
        """Replace the notes of a process; unless renewed they are gone after ``life_s``.

        notes  by the topic under which they are asked for

        Raises BoardAway.
        """
        key = f"{self._name}:{process}"
        work = self._redis.pipeline(transaction=True)
        work.delete(key)
        if notes:
            work.hset(key, items=[part for pair in notes.items() for part in pair])
            work.expire(key, life_s)
            work.zadd(self._name, {process: self._clock() + life_s})
        else:
            work.zrem(self._name, process)
        try:
            work.execute()
        except EXPIRED as error:
            raise BoardAway(str(error)) from error

    def read(self, name: str | None = None) -> list[bytes]:
        """Return the notes that all processes have under ``name``, or all of them.

        Raises BoardAway.
        """
        try:
            self._redis.zremrangebyscore(self._name, "-inf", self._clock())
            work = self._redis.pipeline(transaction=False)
            for process in self._processes():
                key = f"{self._name}:{process}"
                if name is None:
                    work.hvals(key)
                else:
                    work.hmget(key, [name])
            answers = work.execute()
        except EXPIRED as error:
            raise BoardAway(str(error)) from error
        return [note for notes in answers for note in notes if note is not None]

    def _processes(self) -> list[str]:
        found = self._redis.zrange(self._name, 0, -1)
        return [process.decode() for process in found if isinstance(process, bytes)]

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()
