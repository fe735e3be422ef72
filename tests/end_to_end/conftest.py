"""What the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a person who has never run anything here."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def cache(home: Path) -> Path:
    """That person's warmed-up models: each is made once for all tests."""
    return home / ".cache" / "braid" / "warmups"
