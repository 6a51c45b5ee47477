"""The unprivileged account that programs run as when we are root: PostgreSQL refuses root."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

CANDIDATES = ("postgres", "nobody")
"""Accounts that exist on a Debian machine for such a purpose, the fitter one first."""


class PopenArguments(TypedDict, total=False):
    """The part of ``subprocess.Popen``'s arguments that changes who a program is; may be empty."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> PopenArguments:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Say whether every folder from the root down to this one lets the account through.

        A folder that does not exist yet counts as its nearest parent that does.
        """
        existing = [each for each in (folder, *folder.parents) if each.exists()]
        return all(self._may_traverse(each.stat()) for each in existing)

    def _may_traverse(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def unprivileged() -> Account | None:
    """Return whom to run PostgreSQL as: None (ourselves) unless we are root.

    Raises LookupError when we are root and the machine has no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise LookupError(f"PostgreSQL refuses to run as root, and there is no user {CANDIDATES}")
