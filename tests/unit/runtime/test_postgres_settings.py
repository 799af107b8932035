"""Durability of the embedded database cannot be configured away."""

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.runtime.postgres_settings import render_settings


@pytest.mark.parametrize("name", ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses"])
def test_durability_and_address_are_fixed(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        render_settings({name: "off"}, socket_dir="/s")


def test_overrides_replace_defaults_and_quotes_are_escaped() -> None:
    text = render_settings({"shared_buffers": "16MB"}, socket_dir="/it's here")

    assert "shared_buffers = '16MB'\n" in text
    assert "128MB" not in text
    assert "unix_socket_directories = '/it''s here'\n" in text
    assert "fsync = 'on'\n" in text
