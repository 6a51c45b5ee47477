"""Every setting of the product, typed, with its unit, default and sentence.

The settings reference (``docs/configuration.md``) is made from this class. A setting comes from
the environment variable ``KAFKAHUB_<NAME>``, or from the file that ``KAFKAHUB_<NAME>_FILE``
names. All faults are reported at once and no value is ever printed.
"""

import functools
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

PREFIX = "KAFKAHUB_"
OWN_VARIABLES = frozenset({"KAFKAHUB_FAILPOINTS", "KAFKAHUB_REQUIRE_PARTS"})
"""Variables with our prefix that are read elsewhere and are no settings."""

CURE = (
    "Run `make test` or `make dev`, which bring settings of their own; for yours see"
    " docs/configuration.md."
)

CommaList = tuple[str, ...]
Networks = tuple[IPv4Network | IPv6Network, ...]
Environment = Literal["production", "dev", "test"]


class Config(BaseModel):
    """The settings of one process; frozen after it is read."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, extra="forbid")

    environment: Environment = Field(
        "production",
        description="What this installation is for; `dev` and `test` relax nothing by themselves.",
    )
    base_url: str = Field(
        "http://127.0.0.1:8000",
        description="Public address of the web process, without a slash at the end.",
    )
    public_url: str | None = Field(
        None,
        description="Public address of REST, where it is another one: links and `base_uri` of"
        " consumers begin with it; by default `base_url`.",
    )
    allowed_hosts: CommaList = Field(
        (), description="Host names the web process answers to, by comma."
    )
    trusted_proxies: Networks = Field(
        (),
        description="CIDRs of reverse proxies whose `X-Forwarded-*` headers are believed.",
    )
    secret_key: SecretStr = Field(
        description="Django's key for sessions and signatures, 50 characters or more."
    )
    encryption_keys: SecretStr = Field(
        description="Key ring for secrets at rest: `kid:base64 of 32 bytes`, …; the first writes."
    )
    key_peppers: SecretStr = Field(description="Key ring for API key hashes; the same form.")
    audit_keys: SecretStr = Field(description="Key ring for the audit chain; the same form.")
    id_key: SecretStr = Field(
        description="Base64 of 32 bytes that webhook ids are made with; never rotated."
    )

    admin_hosts: CommaList = Field(
        (), description="Host names that `/admin/` is served on, by comma; by default all."
    )
    operators_second_factor: bool | None = Field(
        None,
        description="Whether operators must have a second factor; by default in production.",
    )
    sso_name: str = Field(
        "Company sign-in", description="What the button of the company's own sign-in says."
    )
    sso_issuer: str | None = Field(
        None, description="OpenID Connect issuer of that sign-in; without it there is no button."
    )
    sso_client_id: str = Field("", description="Our client id there.")
    sso_client_secret: SecretStr = Field(SecretStr(""), description="Our client secret there.")

    database_url: SecretStr = Field(
        description="PostgreSQL 15 or newer: `postgresql://user:password@host:port/name`."
    )
    database_listen_url: SecretStr | None = Field(
        None,
        description="PostgreSQL for LISTEN, past a transaction pooler; by default `database_url`.",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis: jobs, doorbells, cache. Disposable.",
    )

    kafka_bootstrap: str = Field(
        "127.0.0.1:9092", description="Kafka brokers, `host:port` by comma."
    )
    kafka_group: str = Field(
        "kafkahub.delivery", description="Consumer group of the delivery engines."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How Kafka is spoken to."
    )
    kafka_sasl_mechanism: Literal[
        "SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER", "GSSAPI"
    ] = Field("SCRAM-SHA-512", description="SASL mechanism, where the protocol has SASL.")
    kafka_sasl_username: str | None = Field(
        None, description="SASL user name; the client id for `OAUTHBEARER`."
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, description="SASL password; the client secret for `OAUTHBEARER`."
    )
    kafka_oauth_token_url: str | None = Field(
        None, description="Where tokens for `OAUTHBEARER` are had by client credentials."
    )
    kafka_ssl_ca: Path | None = Field(
        None, description="File of the CA certificates that sign the brokers'."
    )
    kafka_ssl_cert: Path | None = Field(
        None, description="File of our client certificate for Kafka."
    )
    kafka_ssl_key: Path | None = Field(
        None, description="File of the key of our client certificate for Kafka."
    )
    kafka_ssl_key_password: SecretStr | None = Field(None, description="Password of that key.")

    egress_allow_http: bool = Field(
        False, description="Take `http://` endpoints and port 80 as well."
    )
    egress_allow_loopback: bool = Field(
        False,
        description="Take endpoints on this machine; for development, refused by `check --deploy`.",
    )
    egress_allow: Networks = Field(
        (), description="CIDRs that endpoints may be in although the rules deny them."
    )
    egress_deny: Networks = Field(
        (), description="CIDRs that endpoints may never be in; wins over everything."
    )
    egress_own_hosts: CommaList = Field(
        (), description="Our own host names, denied as endpoints, by comma."
    )
    egress_dns_servers: CommaList = Field(
        (),
        description="DNS servers for endpoints, `address[:port]` by comma; default: the system's.",
    )
    egress_ca_file: Path | None = Field(
        None, description="CA certificates that sign endpoints'; by default Mozilla's list."
    )

    egress_proxy: SecretStr | None = Field(
        None,
        description="Proxy for requests to partners, `http://…` (CONNECT) or `socks5://…`.",
    )
    egress_proxy_exceptions: CommaList = Field(
        (), description="Hosts dialled without it, by comma; `.example.com`: all below."
    )

    verification_trusted_hosts: CommaList = Field(
        (),
        description="Hosts that need no handshake, by comma; `.example.com`: all below, `*`: all.",
    )

    delivery_max_in_flight: int = Field(
        512, ge=1, le=4096, description="Requests one engine has under way at most."
    )
    delivery_lane_records: int = Field(
        1024,
        ge=1,
        le=100_000,
        description="Records one lane queues in memory at most; beyond, it falls behind.",
    )
    delivery_lane_bytes: int = Field(
        8 * 1024 * 1024, ge=65_536, description="Bytes one lane queues in memory at most."
    )
    delivery_checkpoint_ms: int = Field(
        100, ge=10, le=5_000, description="Longest time between two checkpoints, in ms."
    )
    delivery_checkpoint_outcomes: int = Field(
        1_000,
        ge=1,
        le=20_000,
        description="Outcomes not yet committed at most; then sending waits for PostgreSQL.",
    )
    delivery_drain_s: int = Field(
        25, ge=0, le=300, description="Seconds an engine may take to finish on SIGTERM."
    )
    delivery_stall_s: int = Field(
        60,
        ge=5,
        le=3_600,
        description="Seconds a partition with lag may stand still before its engine is replaced.",
    )
    retry_after_max_s: int = Field(
        3_600, ge=1, le=86_400, description="Longest `Retry-After` obeyed, in seconds."
    )
    attempts_kept_days: int = Field(30, ge=1, le=400, description="Days that attempts are kept.")
    dead_letters_kept_days: int = Field(
        30, ge=1, le=90, description="Days that dead letters are kept."
    )
    key_max_days: int = Field(365, ge=1, le=365, description="Longest life of an API key in days.")
    max_endpoints: int = Field(100, ge=1, description="Endpoints a partner may have.")
    max_subscriptions: int = Field(500, ge=1, description="Subscriptions a partner may have.")
    cluster_id: str = Field(
        "kafkahub",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="How the v3 API calls the cluster; not Kafka's own id.",
    )
    rest_readers: int = Field(
        4,
        ge=1,
        le=64,
        description="Kafka readers of a process for polls that memory cannot answer.",
    )
    rest_log_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of newest records that a process keeps for those who poll.",
    )
    rest_waiting: int = Field(
        100, ge=1, description="Reads of one partner that may wait at once in a process."
    )
    max_pull_groups: int = Field(50, ge=1, description="Consumer groups a partner may have.")
    max_pull_instances: int = Field(
        100, ge=1, description="Consumer instances a partner may have at once."
    )
    max_keys: int = Field(20, ge=1, description="Names of API keys a partner may have.")
    processes: int = Field(
        4,
        ge=1,
        le=10_000,
        description="Processes that share the rate limits, while Redis cannot count them.",
    )

    stream_heartbeat: float = Field(
        15,
        ge=5,
        le=60,
        description="Seconds without a write after which a stream gets a heartbeat.",
    )
    stream_write_deadline: float = Field(
        30,
        ge=1,
        le=300,
        description="Seconds a client may take nothing before its stream is closed.",
    )
    stream_max_age: float = Field(
        900,
        ge=0,
        le=86_400,
        description="Seconds after which a stream is rotated, give or take a fifth; 0 for never.",
    )
    stream_drain: float = Field(
        15, ge=0, le=300, description="Seconds over which streams end on SIGTERM."
    )
    tls_cert: Path | None = Field(
        None,
        description="File of the certificate chain that web and gRPC serve with; a new one is taken"
        " as it comes. Without, a proxy ends TLS.",
    )
    tls_key: Path | None = Field(None, description="File of the key of that certificate.")
    grpc_tls_cert: Path | None = Field(
        None, description="The same for gRPC alone, where it has another; by default `tls_cert`."
    )
    grpc_tls_key: Path | None = Field(
        None, description="File of the key of that certificate; by default `tls_key`."
    )
    grpc_reflection: bool = Field(
        False,
        description="Serve gRPC reflection, for callers with a credential; in `dev` it is open.",
    )
    hub_log_bytes: int = Field(
        128 * 1024 * 1024,
        ge=1024 * 1024,
        description="Bytes of records and frames that a web process keeps for its streams.",
    )
    hub_catchup_readers: int = Field(
        2, ge=1, le=16, description="Kafka readers of a web process for streams that are behind."
    )

    mail_url: SecretStr | None = Field(
        None,
        description="Mail server, `smtp://user:password@host:587` or `smtps://…`; else no mail.",
    )
    mail_from: str = Field(
        "KafkaHub <kafkahub@localhost>", description="Sender of the mails to partners."
    )

    operators_mail: CommaList = Field(
        (), description="Addresses that are mailed when an issue opens, by comma."
    )
    operators_apprise: tuple[SecretStr, ...] = Field(
        (), description="Where else issues are told of, as URLs of apprise, by comma."
    )
    anomaly_throttle: CommaList = Field(
        (),
        description="Rules of unusual use that slow a key to a tenth for 15 minutes, by comma.",
    )

    metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of `/metrics`, `/livez` and `/readyz` of a worker; 0 for none.",
    )
    metrics_address: str = Field("127.0.0.1", description="Address that port is opened on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    ws_echo: bool = Field(
        False,
        description="Serve `/ws/echo` for conformance runs; `check --deploy` refuses it.",
    )
    test_hooks: bool = Field(
        False, description="Honour `KAFKAHUB_FAILPOINTS`. For tests; `check --deploy` refuses it."
    )

    @field_validator(
        "allowed_hosts",
        "admin_hosts",
        "egress_own_hosts",
        "egress_dns_servers",
        "egress_proxy_exceptions",
        "verification_trusted_hosts",
        "operators_mail",
        "operators_apprise",
        "anomaly_throttle",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return _by_comma(value)

    @field_validator("trusted_proxies", "egress_allow", "egress_deny", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        return _by_comma(value)

    @property
    def operators_need_second_factor(self) -> bool:
        """Return whether an operator without a second factor opens nothing."""
        if self.operators_second_factor is None:
            return self.environment == "production"
        return self.operators_second_factor

    @field_validator("egress_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in {"http", "socks5"} or not parts.hostname or not parts.port:
                raise ValueError("must be http://host:port or socks5://host:port")
        return value

    @field_validator("base_url", "public_url")
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must start with https:// or http://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        for front in ("tls", "grpc_tls"):
            if (getattr(self, f"{front}_cert") is None) != (getattr(self, f"{front}_key") is None):
                raise ValueError(f"{PREFIX}{front.upper()}_CERT and _KEY are needed together")
        return self

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> Self:
        needs = (
            self.kafka_security_protocol.startswith("SASL")
            and self.kafka_sasl_mechanism != "GSSAPI"
        )
        if needs and not (self.kafka_sasl_username and self.kafka_sasl_password):
            raise ValueError(
                "SASL needs KAFKAHUB_KAFKA_SASL_USERNAME and KAFKAHUB_KAFKA_SASL_PASSWORD"
            )
        if needs and self.kafka_sasl_mechanism == "OAUTHBEARER" and not self.kafka_oauth_token_url:
            raise ValueError("OAUTHBEARER needs KAFKAHUB_KAFKA_OAUTH_TOKEN_URL")
        return self


class ConfigError(Exception):
    """The settings cannot be used; the text has a line a fault, and no value."""


def read(environment: Mapping[str, str]) -> Config:
    """Return the settings that these variables give.

    Raises ConfigError naming every fault at once: missing, unknown, of a wrong type.
    """
    values, faults = _values(environment)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        faults += [
            _sentence(fault["loc"], fault["msg"]) for fault in error.errors(include_input=False)
        ]
        raise ConfigError("\n".join(faults)) from None
    if faults:
        raise ConfigError("\n".join(faults))
    return config


@functools.cache
def load() -> Config:
    """Return the settings of this process, read once from its environment.

    Raises ConfigError with every fault, and where settings come from.
    """
    try:
        return read(os.environ)
    except ConfigError as error:
        raise ConfigError(f"{error}\n{CURE}") from None


def _by_comma(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _values(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    values: dict[str, str] = {}
    faults: list[str] = []
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or variable in OWN_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in Config.model_fields:
            values[name] = text
        elif name.removesuffix("_file") in Config.model_fields:
            _read_file(name.removesuffix("_file"), Path(text), values, faults)
        else:
            faults.append(f"{variable}: no such setting; see docs/configuration.md")
    return values, faults


def _read_file(name: str, path: Path, values: dict[str, str], faults: list[str]) -> None:
    try:
        values[name] = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        faults.append(f"{PREFIX}{name.upper()}_FILE: cannot be read: {error.strerror}")


def _sentence(location: tuple[int | str, ...], text: str) -> str:
    name = f"{PREFIX}{str(location[0]).upper()}: " if location else ""
    return f"{name}{text}"
