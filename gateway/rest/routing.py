"""Paths to handlers, as tables that each door fills."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from gateway.rest.call import Reply

Handler = Callable[..., Awaitable[Reply]]
"""Takes the parts, the call, and the names that stand in the path."""
Methods = Mapping[str, Handler]


class Found(NamedTuple):
    """What a path offers, and the names in it."""

    methods: Methods
    names: tuple[str, ...]


class _Route(NamedTuple):
    literals: tuple[str | None, ...]
    methods: Methods


class Routes:
    """Finds a handler by the first segment and the number of segments, then by the literals.

    paths  such as ``/topics/{topic}/partitions/{partition}``; the names in braces do not matter
    """

    def __init__(self, paths: Mapping[str, Methods]) -> None:
        self.paths = paths
        self._by_shape: dict[tuple[str, int], list[_Route]] = {}
        for path, methods in paths.items():
            segments = path.split("/")[1:]
            literals = tuple(None if one.startswith("{") else one for one in segments)
            shape = (segments[0], len(segments))
            self._by_shape.setdefault(shape, []).append(_Route(literals, methods))

    def find(self, path: str) -> Found | None:
        """Return what a path offers; None for one that nobody serves."""
        segments = path.split("/")[1:]
        for route in self._by_shape.get((segments[0], len(segments)), ()):
            names = _names(route.literals, segments)
            if names is not None:
                return Found(route.methods, names)
        return None


def _names(literals: Iterable[str | None], segments: Iterable[str]) -> tuple[str, ...] | None:
    names = []
    for literal, segment in zip(literals, segments, strict=True):
        if literal is None:
            if segment == "":
                return None
            names.append(segment)
        elif literal != segment:
            return None
    return tuple(names)
