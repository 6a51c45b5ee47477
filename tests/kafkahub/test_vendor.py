"""What comes from others is what their packages have, and every file of it is named."""

import hashlib
import re
from pathlib import Path

import pytest

FOLDERS = [Path("kafkahub/static/vendor"), Path("tests/e2e/vendor")]
LINE = re.compile(r"^\| (\S+) \| \S+ [\d.]+[^|]*\| [^|]+ \| ([0-9a-f]{64}) \|$", re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_files_of_others_are_named_and_unchanged(folder: Path) -> None:
    named = dict(LINE.findall((folder / "VENDOR.md").read_text(encoding="utf-8")))

    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "VENDOR.md"
    }

    assert found == named
