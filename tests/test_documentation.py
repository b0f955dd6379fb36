"""What a reader is told exists: a setting that no document names is a defect."""

from pathlib import Path

import pytest

from handler.settings import Runtime, Settings

README = (Path(__file__).parent.parent / "README.md").read_text()
NAMES = [
    name
    for field, info in Settings.model_fields.items()
    if field not in Runtime.model_fields
    for name in getattr(info.validation_alias, "choices", [])
]


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in README
