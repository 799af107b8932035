"""Asking a person with a browser (SECURITY A8, V10): state, challenge, what may come back, and what Shopify signs."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.connectors.shopify import CONNECTOR as SHOPIFY
from tidegate.connectors.shopify.redirect import check_redirect
from tidegate.kernel.errors import AuthenticationError, ConfigurationError
from tidegate.kernel.redaction import Secret
from tidegate.sdk.oauth import Grant, OAuth, authorize_url, code_form, new_grant, read_redirect

BACK = "https://tidegate.example.com/oauth/callback"
PLAIN = OAuth(token_path="/token", authorize_path="/authorize", scopes=("read", "write"))
SETTINGS = {"client_id": "app", "store": "harbour.myshopify.com"}
SECRET = "shpss_0123456789abcdef"
SECRETS = {"client_secret": Secret(SECRET)}
NOW = 1_795_000_000.0
assert SHOPIFY.oauth is not None
OURS = SHOPIFY.oauth


def read(oauth: OAuth, text: str, grant: Grant) -> str:
    return read_redirect(oauth, text, grant, SETTINGS, SECRETS, NOW).reveal()


def asked_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def test_the_address_holds_the_state_and_a_challenge_and_no_secret() -> None:
    grant = new_grant(BACK)

    url = authorize_url(PLAIN, "https://id.example.com/", grant, SETTINGS, SECRETS)

    asked = asked_of(url)
    digest = base64.urlsafe_b64encode(hashlib.sha256(grant.verifier.encode()).digest()).decode().rstrip("=")
    assert url.startswith("https://id.example.com/authorize?")
    assert asked == {
        "client_id": "app", "response_type": "code", "redirect_uri": BACK, "state": grant.state, "scope": "read write",
        "code_challenge": digest, "code_challenge_method": "S256",
    }  # fmt: skip
    assert SECRET not in url
    assert grant.verifier not in url
    assert "state" not in repr(grant).lower()
    assert code_form(PLAIN, "c", grant, SETTINGS, SECRETS)["code_verifier"] == grant.verifier


def test_states_are_never_the_same() -> None:
    assert len({new_grant(BACK).state for _ in range(100)}) == 100
    assert len(new_grant(BACK).state) == 43, "256 bits"


def test_shopify_is_asked_for_a_pair_that_expires() -> None:
    grant = new_grant(BACK)

    asked = asked_of(authorize_url(OURS, "https://harbour.myshopify.com", grant, SETTINGS, SECRETS))
    own = asked_of(
        authorize_url(OURS, "https://x", grant, {**SETTINGS, "scopes": "read_orders, write_orders"}, SECRETS)
    )

    assert asked["scope"].split(",")[0] == "read_orders"
    assert own["scope"] == "read_orders,write_orders"
    assert code_form(OURS, "c", grant, SETTINGS, SECRETS) | {"expiring": "1"} == {
        "grant_type": "authorization_code", "code": "c", "redirect_uri": BACK, "expiring": "1", "client_id": "app",
        "client_secret": SECRET,
    }  # fmt: skip


def test_without_the_apps_id_nobody_is_asked() -> None:
    with pytest.raises(ConfigurationError) as refused:
        authorize_url(PLAIN, "https://x", new_grant(BACK), {}, {})

    assert refused.value.code == "answer_missing"


# --- what comes back -------------------------------------------------------------------------------------------------
def test_an_address_or_its_query_may_be_given() -> None:
    grant = new_grant(BACK)
    query = urlencode({"code": "the code", "state": grant.state})

    assert read(PLAIN, f"{BACK}?{query}", grant) == "the code"
    assert read(PLAIN, f"  {query}\n", grant) == "the code"


@pytest.mark.parametrize(
    "change",
    [
        {"state": "x" * 43}, {"state": ""}, {"state": None}, {"code": ""}, {"code": None}, {"code": "x" * 5000},
    ],
)  # fmt: skip
def test_what_is_not_the_answer_to_this_request_is_refused(change: dict[str, str | None]) -> None:
    grant = new_grant(BACK)
    values = {"code": "canary-code", "state": grant.state, **change}

    with pytest.raises(AuthenticationError) as refused:
        read(PLAIN, urlencode({name: value for name, value in values.items() if value is not None}), grant)

    assert refused.value.code == "redirect_unusable"
    assert "canary" not in str(refused.value) + str(refused.value.hint)


def test_a_no_is_said_as_a_no_and_only_to_its_own_request() -> None:
    grant = new_grant(BACK)

    with pytest.raises(AuthenticationError) as denied:
        read(PLAIN, urlencode({"error": "access_denied", "state": grant.state}), grant)
    with pytest.raises(AuthenticationError) as foreign:
        read(PLAIN, urlencode({"error": "access_denied", "state": "other"}), grant)
    with pytest.raises(AuthenticationError) as odd:
        read(PLAIN, urlencode({"error": "<script>\x1b[31m", "state": grant.state}), grant)

    assert (denied.value.code, foreign.value.code) == ("authorisation_denied", "redirect_unusable")
    assert "access_denied" in str(denied.value)
    assert "script" not in str(odd.value)


@given(st.text(max_size=300))
def test_garbage_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(AuthenticationError):
        read(PLAIN, text, new_grant(BACK))


# --- Shopify ---------------------------------------------------------------------------------------------------------
def signed(secret: str = SECRET, *, is_form: bool = True, **changes: str) -> dict[str, str]:
    values = {
        "code": "0907a61c0c8d55e99db179b68161bc00", "shop": "harbour.myshopify.com", "state": "s", "timestamp": str(int(NOW)),
        "host": "YWRtaW4uc2hvcGlmeS5jb20/c3RvcmU=", **changes,
    }  # fmt: skip
    pairs = sorted(values.items())
    text = urlencode(pairs) if is_form else "&".join(f"{name}={value}" for name, value in pairs)
    return {**values, "hmac": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}


def check(values: dict[str, str], now: float = NOW) -> None:
    check_redirect(list(values.items()), SETTINGS, SECRETS, now)


@pytest.mark.parametrize("is_form", [True, False])
def test_w1_what_shopify_signed_is_taken_in_both_of_its_forms(is_form: bool) -> None:
    check(signed(is_form=is_form))


def test_w1_every_change_of_a_signed_redirect_is_refused() -> None:
    good = signed()
    for name in good:
        for changed in (good[name] + "0", good[name][:-1], good[name].swapcase() + "x", ""):
            with pytest.raises(AuthenticationError):
                check({**good, name: changed})
        with pytest.raises(AuthenticationError):
            check({key: value for key, value in good.items() if key != name})
    with pytest.raises(AuthenticationError):
        check({**good, "more": "1"})
    with pytest.raises(AuthenticationError):
        check(signed("another secret of somebody"))
    with pytest.raises(AuthenticationError):
        check_redirect(list(signed("").items()), SETTINGS, {"client_secret": Secret("")}, NOW)


@pytest.mark.parametrize("seconds", [-901, 901, 1e9])
def test_w3_an_old_redirect_or_one_of_the_future_is_refused(seconds: float) -> None:
    with pytest.raises(AuthenticationError):
        check(signed(), NOW + seconds)


def test_w4_a_redirect_of_another_shop_is_refused_though_the_same_app_signed_it() -> None:
    with pytest.raises(AuthenticationError, match="another shop"):
        check(signed(shop="evil-harbour.myshopify.com"))


def test_shopifys_redirect_is_looked_at_before_its_code() -> None:
    grant = replace_state("s")
    values = signed()

    assert read(OURS, urlencode(values), grant) == values["code"]
    with pytest.raises(AuthenticationError):
        read(OURS, urlencode({**values, "code": "of somebody else"}), grant)


def replace_state(state: str) -> Grant:
    grant = new_grant(BACK)
    return Grant(state=state, verifier=grant.verifier, redirect_uri=grant.redirect_uri)


def test_pkce_can_be_left_out() -> None:
    oauth = replace(PLAIN, pkce=False)

    assert "code_challenge" not in asked_of(authorize_url(oauth, "https://x", new_grant(BACK), SETTINGS, SECRETS))
    assert "code_verifier" not in code_form(oauth, "c", new_grant(BACK), SETTINGS, SECRETS)
