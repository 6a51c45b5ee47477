"""Who runs PostgreSQL, and which folders let them through."""

import os
from pathlib import Path

import pytest

from kafkahub.devstack.accounts import Account, unprivileged

STRANGER = Account("stranger", uid=54_321, gid=54_321)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder all of whose parents let everybody pass."""
    for each in (tmp_path, *tmp_path.parents[:3]):
        each.chmod(0o755)
    return tmp_path


def test_a_folder_open_to_all_is_entered(folder: Path) -> None:
    assert STRANGER.can_enter(folder)


def test_one_closed_parent_is_enough_to_be_kept_out(folder: Path) -> None:
    inner = folder / "closed" / "inner"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)

    assert not STRANGER.can_enter(inner)


def test_a_folder_that_is_not_there_yet_counts_as_its_parent(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)

    assert STRANGER.can_enter(folder / "new" / "deep")
    assert not STRANGER.can_enter(closed / "new")


def test_the_owner_passes_by_his_own_bits(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    owner = Account("owner", uid=os.getuid(), gid=STRANGER.gid)

    assert owner.can_enter(closed)


def test_only_root_needs_somebody_else() -> None:
    account = unprivileged()

    if os.geteuid() == 0:
        assert account is not None
        assert account.uid != 0
    else:
        assert account is None
