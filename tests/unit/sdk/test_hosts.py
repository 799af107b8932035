"""SECURITY E4: a connector of a known platform reaches hosts of that platform only, by strict comparison of labels."""

import pytest

from tidegate.kernel.errors import ConfigurationError
from tidegate.sdk.egress import check_host

SHOPIFY = ("*.myshopify.com",)


@pytest.mark.parametrize(
    "url", ["https://harbour.myshopify.com", "https://HARBOUR.myshopify.com/", "https://h-2.myshopify.com"]
)
def test_a_shop_of_the_platform_is_reached(url: str) -> None:
    check_host(url, SHOPIFY)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil-myshopify.com",
        "https://x.myshopify.com.evil.example",
        "https://a.b.myshopify.com",
        "https://myshopify.com",
        "https://.myshopify.com",
        "https://evil.example/x.myshopify.com",
        "https://evil.example#.myshopify.com",
        "https://x.myshopify.com@evil.example",
        "https://evil.example\\.myshopify.com",
        "https://shöp.myshopify.com",
        "https://[::1",
        "",
    ],
)
def test_everybody_else_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_host(url, SHOPIFY)

    assert caught.value.code == "base_url"


def test_a_connector_without_hosts_reaches_any() -> None:
    check_host("https://erp.example", ())
