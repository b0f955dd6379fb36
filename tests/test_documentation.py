"""What a reader is told exists: a setting that no document names is a defect."""

from pathlib import Path

import pytest

from handler.settings import variables

README = (Path(__file__).parent.parent / "README.md").read_text()
NAMES = [name for names in variables().values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in README
