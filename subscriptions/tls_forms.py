"""TLS material of an endpoint: what is taken, and what is shown."""

from typing import Any

from kafkahub import certificates, clock
from kafkahub.crypto import SealBroken
from kafkahub.drf.fields import Strict, Text, Values
from kafkahub.errors import Fault, Invalid
from subscriptions.actions.endpoints import sealed_values
from subscriptions.credentials import SET
from subscriptions.inputs import wrong
from subscriptions.models import Endpoint

MAX_PEM = 32 * 1024
CODE = "invalid_tls_material"


class TlsIn(Strict):
    """A client certificate with its key, authorities of the endpoint's own, or both."""

    client_certificate = Text(max_length=MAX_PEM, required=False)
    client_key = Text(max_length=MAX_PEM, required=False)
    ca = Text(max_length=MAX_PEM, required=False)

    def checked(self, values: Values) -> Values:
        certificate, key = values.get("client_certificate"), values.get("client_key")
        if (certificate is None) != (key is None):
            missing = "/client_key" if key is None else "/client_certificate"
            raise wrong("required", "A certificate and its key are needed together.", missing)
        if not values:
            raise wrong("required", "client_certificate and client_key, or ca, are needed here.")
        now, found = clock.now(), []
        try:
            if certificate is not None and key is not None:
                certificates.check_client(certificate, key, now)
        except ValueError as error:
            found.append(Fault("/client_certificate", CODE, f"{error}."))
        try:
            if "ca" in values:
                certificates.check_authorities(values["ca"], now)
        except ValueError as error:
            found.append(Fault("/ca", CODE, f"{error}."))
        if found:
            raise Invalid(found)
        return values


def as_tls(value: object) -> dict[str, Any]:
    """Return TLS material as it is sealed."""
    chosen: dict[str, Any] = TlsIn().run_validation(value)
    return chosen


def shown_tls(endpoint: Endpoint) -> dict[str, str] | None:
    """Return which parts there are, and when the first of its certificates ends."""
    try:
        names = sealed_values(endpoint.tls)
    except SealBroken:
        return {"unreadable": SET}
    if not names or endpoint.tls_expires_at is None:
        return None
    return {**dict.fromkeys(names, SET), "expires_at": clock.rfc3339(endpoint.tls_expires_at)}


_PEM = {"type": "string", "maxLength": MAX_PEM, "description": "PEM."}
TLS: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "TLS material of the endpoint's own. A patch replaces it as a whole.",
    "properties": {
        "client_certificate": {**_PEM, "description": "PEM, with the chain behind it."},
        "client_key": {**_PEM, "description": "PEM, not encrypted; kept sealed."},
        "ca": {**_PEM, "description": "PEM; believed instead of the public authorities."},
    },
    "additionalProperties": False,
}
TLS_SHOWN: dict[str, Any] = {
    "type": ["object", "null"],
    "description": "Parts that are set, and when the first certificate among them ends.",
    "properties": {"expires_at": {"type": "string", "format": "date-time"}},
    "additionalProperties": {"type": "string"},
}
