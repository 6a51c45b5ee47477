"""Keys of a stack are strong, kept, and nobody else's to read."""

import stat
from pathlib import Path

import pytest

from kafkahub import config
from kafkahub.devstack import material

PARTS = {"KAFKAHUB_DATABASE_URL": "postgresql://user@127.0.0.1:1/name"}


def test_material_is_kept_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"

    first = material.keep(path)

    assert material.keep(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_two_stacks_share_a_key() -> None:
    one, other = material.make(), material.make()

    assert not set(one.values()) & set(other.values())


def test_the_product_accepts_what_is_made() -> None:
    settings = config.read({**PARTS, **material.variables(material.make())})

    assert settings.environment == "production"


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text("old and readable")
    path.chmod(0o644)

    material.write_private(path, "new")

    assert path.read_text() == "new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["KAFKAHUB_SECRET_KEY", "KAFKAHUB_ID_KEY"])
def test_passwords_of_parts_are_no_settings(name: str) -> None:
    variables = material.variables(material.make())

    assert name in variables
    assert "part_password" not in variables
