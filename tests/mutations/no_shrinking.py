"""Pytest plugin of the mutations: that something is wrong is enough; nobody looks for the smallest example."""

from __future__ import annotations

from hypothesis import Phase, settings


def pytest_configure() -> None:
    """Take over the profile of the tests, once it is known, and leave its costly phases out."""
    settings.register_profile(
        "mutations",
        settings.get_profile("tidegate"),
        phases=(Phase.explicit, Phase.generate),
        database=None,
        report_multiple_bugs=False,
    )
    settings.load_profile("mutations")
