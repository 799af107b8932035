"""One-legged OAuth 1.0a, against a request that a running WooCommerce accepted, and what the client makes of it."""

from datetime import UTC, datetime

from tidegate.connectors.woocommerce.oauth import basic_session, oauth_session, signature

KEY = "ck_0123456789abcdef0123456789abcdef01234567"
SECRET = "cs_0123456789abcdef0123456789abcdef01234567"
URL = "http://127.0.0.1:8099/wp-json/wc/v3/products"
ACCEPTED = "Lh/WywoGJ7/A1IdyoARTLk9MPRIJ2kSpFCaURMJTwxY="
NONCE = "ae4adfb7aae3e84969356103514eabb036b8f5f7"
NOW = datetime.fromtimestamp(1_795_302_463, UTC)


def test_a_request_is_signed_as_the_shop_accepted_it() -> None:
    session = oauth_session(KEY, SECRET, make_nonce=lambda: NONCE)
    assert session.sign_query is not None

    added = session.sign_query("GET", URL, {"per_page": "1"}, NOW)

    assert added["oauth_signature"] == ACCEPTED
    assert session.headers == {}
    assert SECRET not in repr(session) + repr(dict(added))


def test_every_request_has_a_nonce_of_its_own_because_the_shop_takes_each_once() -> None:
    session = oauth_session(KEY, SECRET)
    assert session.sign_query is not None

    nonces = {session.sign_query("GET", URL, {}, NOW)["oauth_nonce"] for _ in range(50)}

    assert len(nonces) == 50


def test_the_order_of_parameters_is_that_of_their_escaped_names() -> None:
    one = signature("GET", URL, {"b": "1", "a": "2 3", "_fields": "id,sku"}, SECRET)
    two = signature("get", URL, {"_fields": "id,sku", "a": "2 3", "b": "1"}, SECRET)

    assert one == two
    assert signature("GET", URL, {"b": "1", "a": "2+3", "_fields": "id,sku"}, SECRET) != one


def test_a_basic_session_shows_no_secret() -> None:
    session = basic_session(KEY, SECRET)

    assert session.headers["Authorization"].startswith("Basic ")
    assert "Basic" not in repr(session)
