"""Settings: every fault at once, no value ever, files for secrets."""

import subprocess
import sys
from pathlib import Path

import pytest

from kafkahub import config

ROOT = Path(__file__).resolve().parents[2]
NEEDED = {
    "KAFKAHUB_SECRET_KEY": "a" * 50,
    "KAFKAHUB_ENCRYPTION_KEYS": "k1:x",
    "KAFKAHUB_KEY_PEPPERS": "p1:x",
    "KAFKAHUB_AUDIT_KEYS": "a1:x",
    "KAFKAHUB_ID_KEY": "x",
    "KAFKAHUB_DATABASE_URL": "postgresql://hub:hunter22@db/hub",
}


def faults(**variables: str) -> list[str]:
    with pytest.raises(config.ConfigError) as caught:
        config.read(NEEDED | variables)
    return str(caught.value).splitlines()


def test_what_is_needed_is_enough() -> None:
    assert config.read(NEEDED).environment == "production"


def test_nothing_of_development_is_on_by_default() -> None:
    settings = config.read(NEEDED)

    assert not settings.egress_allow_http
    assert not settings.egress_allow_loopback
    assert not settings.test_hooks


def test_every_fault_is_told_at_once_and_none_with_its_value() -> None:
    told = faults(
        KAFKAHUB_METRICS_PORT="sesame",
        KAFKAHUB_BASE_URL="ftp://sesame",
        KAFKAHUB_EGRESS_ALLOW="sesame",
        KAFKAHUB_ALOWED_HOSTS="sesame",
    )

    names = {line.partition(":")[0] for line in told}
    assert names == {
        "KAFKAHUB_METRICS_PORT",
        "KAFKAHUB_BASE_URL",
        "KAFKAHUB_EGRESS_ALLOW",
        "KAFKAHUB_ALOWED_HOSTS",
    }
    assert "sesame" not in str(told)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.read({})

    assert {line.partition(":")[0] for line in str(caught.value).splitlines()} == set(NEEDED)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("b" * 50 + "\n")

    settings = config.read(
        {name: value for name, value in NEEDED.items() if name != "KAFKAHUB_SECRET_KEY"}
        | {"KAFKAHUB_SECRET_KEY_FILE": str(tmp_path / "key")}
    )

    assert settings.secret_key.get_secret_value() == "b" * 50


def test_a_file_that_cannot_be_read_is_named_by_its_setting(tmp_path: Path) -> None:
    told = faults(KAFKAHUB_KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "none"))

    assert told == ["KAFKAHUB_KAFKA_SASL_PASSWORD_FILE: cannot be read: No such file or directory"]


def test_variables_of_others_are_none_of_ours() -> None:
    assert config.read(NEEDED | {"HOME": "/", "KAFKA_HOME": "x", "KAFKAHUB_FAILPOINTS": "x"})


@pytest.mark.parametrize(
    ("text", "hosts"), [("", ()), ("a.example", ("a.example",)), (" a , b,", ("a", "b"))]
)
def test_lists_are_written_by_comma(text: str, hosts: tuple[str, ...]) -> None:
    assert config.read(NEEDED | {"KAFKAHUB_ALLOWED_HOSTS": text}).allowed_hosts == hosts


def test_sasl_without_its_password_is_a_fault() -> None:
    told = faults(KAFKAHUB_KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKAHUB_KAFKA_SASL_USERNAME="hub")

    assert "KAFKAHUB_KAFKA_SASL_PASSWORD" in told[0]


def test_a_base_url_has_no_slash_at_its_end() -> None:
    settings = config.read(NEEDED | {"KAFKAHUB_BASE_URL": "https://hub.example/"})

    assert settings.base_url == "https://hub.example"


def test_no_setting_shows_a_secret_when_it_is_printed() -> None:
    assert "hunter22" not in repr(config.read(NEEDED))


def test_a_command_tells_faults_in_lines_and_does_not_start() -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={"KAFKAHUB_METRICS_PORT": "sesame"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "KAFKAHUB_SECRET_KEY: Field required" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sesame" not in done.stderr
