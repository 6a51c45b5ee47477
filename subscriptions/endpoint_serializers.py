"""What the control API takes and shows of endpoints and their secrets."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.serializers import (
    BooleanField,
    CharField,
    FloatField,
    IntegerField,
    JSONField,
    SerializerMethodField,
)

from kafkahub.crypto import SealBroken
from kafkahub.drf.fields import (
    Json,
    Moment,
    Number,
    OneOf,
    Strict,
    Text,
    Truth,
    Values,
    Whole,
)
from subscriptions.actions.endpoints import DEFAULT_OVERLAP_S, MAX_OVERLAP_S, header_values
from subscriptions.batch_forms import MAX_BODY_BYTES
from subscriptions.endpoint_forms import (
    AUTH,
    AUTH_SHOWN,
    AUTO_DISABLE_SHOWN,
    SIGNATURES,
    SIGNATURES_SHOWN,
    VERIFICATION_SHOWN,
    AutoDisableIn,
    as_auth,
    as_signatures,
    shown_auth,
    shown_auto_disable,
    shown_reason,
    shown_signatures,
    shown_verification,
)
from subscriptions.inputs import (
    HEADERS,
    as_headers,
    wrong,
)
from subscriptions.models import Endpoint, SigningSecret
from subscriptions.models.endpoints import MAX_URL
from subscriptions.models.partners import MAX_NAME
from subscriptions.tls_forms import TLS, TLS_SHOWN, as_tls, shown_tls

MAX_DESCRIPTION = 2_000


class EndpointIn(Strict):
    """The members of an endpoint that its partner sets."""

    name = Text(max_length=MAX_NAME, required=False)
    description = Text(max_length=MAX_DESCRIPTION, allow_blank=True, default="")
    url = Text(max_length=MAX_URL)
    timeout_ms = Whole(min_value=1_000, max_value=30_000, default=15_000)
    connect_timeout_ms = Whole(min_value=500, max_value=10_000, default=5_000)
    max_in_flight = Whole(min_value=1, max_value=256, default=32)
    rate_per_s = Number(min_value=0.1, max_value=10_000, allow_null=True, default=None)
    max_body_bytes = Whole(min_value=65_536, max_value=MAX_BODY_BYTES, default=1_048_576)
    headers = Json(read=as_headers, schema=HEADERS, default=dict)
    auth = Json(read=as_auth, schema=AUTH, allow_null=True, default=None)
    tls = Json(read=as_tls, schema=TLS, allow_null=True, default=None)
    signatures = Json(read=as_signatures, schema=SIGNATURES, allow_null=True, default=None)
    auto_disable = AutoDisableIn(default=dict)
    auto_recover = Truth(default=True)
    id = CharField(read_only=True)
    verification = JSONField(read_only=True)
    status = CharField(read_only=True)
    status_reason = CharField(read_only=True)
    version = IntegerField(read_only=True)
    created_at = Moment(read_only=True)
    updated_at = Moment(read_only=True)


class EndpointOut(serializers.Serializer[Endpoint]):
    """An endpoint; of its headers only the names."""

    id = CharField()
    name = CharField()
    description = CharField()
    url = CharField()
    status = CharField()
    status_reason = SerializerMethodField()
    verification = SerializerMethodField()
    timeout_ms = IntegerField()
    connect_timeout_ms = IntegerField()
    max_in_flight = IntegerField()
    rate_per_s = FloatField(allow_null=True)
    max_body_bytes = IntegerField()
    headers = SerializerMethodField()
    auth = SerializerMethodField()
    tls = SerializerMethodField()
    signatures = SerializerMethodField()
    auto_disable = SerializerMethodField()
    auto_recover = BooleanField(source="is_auto_recovered")
    version = IntegerField()
    created_at = Moment()
    updated_at = Moment()

    def get_status_reason(self, endpoint: Endpoint) -> str | None:
        return shown_reason(endpoint)

    @extend_schema_field(VERIFICATION_SHOWN)
    def get_verification(self, endpoint: Endpoint) -> dict[str, object]:
        return shown_verification(endpoint)

    @extend_schema_field(AUTO_DISABLE_SHOWN)
    def get_auto_disable(self, endpoint: Endpoint) -> dict[str, object]:
        return shown_auto_disable(endpoint)

    @extend_schema_field(AUTH_SHOWN)
    def get_auth(self, endpoint: Endpoint) -> dict[str, str] | None:
        return shown_auth(endpoint)

    @extend_schema_field(TLS_SHOWN)
    def get_tls(self, endpoint: Endpoint) -> dict[str, str] | None:
        return shown_tls(endpoint)

    @extend_schema_field(SIGNATURES_SHOWN)
    def get_signatures(self, endpoint: Endpoint) -> dict[str, Any]:
        return shown_signatures(endpoint)

    def get_headers(self, endpoint: Endpoint) -> dict[str, str] | None:
        """Return ``{name: "set"}``, or None when they cannot be opened."""
        try:
            return dict.fromkeys(header_values(endpoint), "set")
        except SealBroken:
            return None


class EndpointMade(EndpointOut):
    """A new endpoint with its first secret, shown this once."""

    secret = CharField()


class SecretIn(Strict):
    """A rotation."""

    kind = OneOf(choices=SigningSecret.Kind.values, default=SigningSecret.Kind.HMAC.value)
    secret = Text(max_length=200, required=False)
    overlap_s = Whole(min_value=0, max_value=MAX_OVERLAP_S, default=DEFAULT_OVERLAP_S)

    def checked(self, values: Values) -> Values:
        if "secret" in values and values["kind"] != SigningSecret.Kind.HMAC:
            text = "Only an HMAC secret can be brought along; we make ed25519 pairs."
            raise wrong("bad_combination", text, "/secret")
        return values


class SecretOut(serializers.Serializer[SigningSecret]):
    """A signing secret without the secret."""

    id = CharField()
    kind = CharField()
    status = CharField()
    public_key = SerializerMethodField()
    created_at = Moment()
    expires_at = Moment(allow_null=True)

    def get_public_key(self, secret: SigningSecret) -> str | None:
        return secret.public_key or None


class SecretMade(SecretOut):
    """A new signing secret, shown this once; of an ed25519 pair the public key is all there is."""

    secret = CharField(allow_null=True)
