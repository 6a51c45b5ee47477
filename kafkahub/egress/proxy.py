"""The operator's proxy for requests to partners: where it is, and whom it is not asked for (pure).

We resolve and judge a name ourselves and ask the proxy for the address, so it cannot be led to
another one; TLS is with the endpoint, by its name.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as libcurl takes it.

    url         ``http://`` for CONNECT or ``socks5://``, which is given addresses, never names;
                with its user and password, where it wants them
    exceptions  hosts that are dialled directly; ``.example.com``: all below
    """

    url: str = field(repr=False)
    exceptions: tuple[str, ...] = ()

    def serves(self, host: str) -> bool:
        """Return whether requests to this host go through the proxy."""
        return not any(
            one == host or (one[:1] == "." and host.endswith(one)) for one in self.exceptions
        )
