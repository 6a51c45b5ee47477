"""The test's database as an engine reaches it."""

from django.db import connection


def url(host: str = "", port: int = 0) -> str:
    """Return the address of the test's database, maybe by way of a proxy."""
    at = connection.settings_dict
    login = at["USER"] + (f":{at['PASSWORD']}" if at["PASSWORD"] else "")
    return f"postgresql://{login}@{host or at['HOST']}:{port or at['PORT']}/{at['NAME']}"
