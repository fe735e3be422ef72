"""The worlds that the suite runs in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.live_world import LiveWorldUnderTest
from tests.conformance.virtual_world import VirtualWorldUnderTest
from tests.conformance.world import WorldUnderTest


@pytest.fixture(params=["virtual", "virtual without codec", "live"])
def world(request: pytest.FixtureRequest) -> Iterator[WorldUnderTest]:
    """Each world in turn."""
    under_test: WorldUnderTest
    if request.param == "live":
        under_test = LiveWorldUnderTest()
    else:
        under_test = VirtualWorldUnderTest(codec=request.param == "virtual")
    try:
        yield under_test
    finally:
        under_test.close()
