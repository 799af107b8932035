"""What failures mean and what to do about them, by code; where a code is not known, by class. Pure.

`docs/reference/fixes.md` shows this table; a test keeps both equal and finds codes that are missing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fix:
    """What one code means, and what mends it."""

    meaning: str
    action: str
    is_cured_by_retry: bool = True
    """False: sending it again as it is gets the same answer; the cause comes first."""
    wants_rebuild: bool = False
    """True: after the cause is mended the request is made anew (`--rebuild`), for the frozen one holds what was refused."""


_RETRY = "tidegate issues retry ISSUE"
_REBUILD = f"{_RETRY} --rebuild"
_BIND = "give the article the same SKU in both systems, run tidegate connect NAME again"
_CONNECT = "tidegate connect NAME with a valid credential; what waits goes on by itself"
_LOOK = "look there whether it was carried out; if not: tidegate issues retry ISSUE --in-doubt, if so: tidegate commands cancel"
_SENDER = (
    "tidegate doctor --only webhooks says whose secret or clock is wrong; tidegate webhook verify checks a capture"
)


def _cause(meaning: str, action: str, *, rebuild: bool = False) -> Fix:
    return Fix(meaning, action, is_cured_by_retry=False, wants_rebuild=rebuild)


FIXES: Mapping[str, Fix] = {
    # --- what we could not make a request of
    "sku_unbound": _cause("an article has no counterpart in that system", f"{_BIND}, then {_RETRY}"),
    "order_missing": _cause(
        "the command's order does not exist here", "tidegate commands cancel: there is nothing to send"
    ),
    "order_sent": _cause(
        "the shop has sent something of an order that it is asked to cancel",
        "look at both; cancel it in the shop by hand, or tidegate stock settle SKU --undo",
    ),
    "order_not_placed": _cause(
        "the shop takes an order that it is asked to cancel for a cart",
        "look at it in the shop, then tidegate commands cancel",
    ),
    "no_lines_left": _cause(
        "an order that the shop is asked to cancel has no units there",
        "look at it in the shop, then tidegate commands cancel",
    ),
    "shipped_meanwhile": _cause(
        "goods of an order have left since somebody had it cancelled",
        "tidegate stock settle SKU --undo lets it stand; or take the goods back, and cancel it in its shop",
    ),
    "fulfillment_missing": _cause("the command's shipment does not exist here", "tidegate commands cancel"),
    "not_an_action": _cause("a stock number was planned as a command", f"{_RETRY}: its item is marked again"),
    "mapping_failed": _cause(
        "a rule of the map has no value for its target",
        f"mend the map or its table, try it with tidegate map test, apply it, then {_REBUILD}",
        rebuild=True,
    ),
    "hook_failed": _cause(
        "a hook raised an error, or ended its process",
        f"mend the hook at the line that the reason names, tidegate map test, apply it, then {_REBUILD}",
        rebuild=True,
    ),
    "hook_timeout": _cause(
        "a hook did not come back in time",
        f"mend the hook, or raise hooks.deadline, tidegate map test, apply it, then {_REBUILD}",
        rebuild=True,
    ),
    "hook_memory": _cause(
        "a hook took more memory than it may",
        f"mend the hook, or raise hooks.memory, tidegate map test, apply it, then {_REBUILD}",
        rebuild=True,
    ),
    "hook_invalid": _cause(
        "a hook cannot be loaded, or returned what it may not return",
        f"mend the hook, tidegate map test, apply it, then {_REBUILD}",
        rebuild=True,
    ),
    "not_supported": _cause("the connector does not know this kind of command", "take the connection out of that flow"),
    "not_sendable": _cause(
        "a stored value cannot be sent", f"look into the log of dispatch, then {_REBUILD}", rebuild=True
    ),
    "tampered": _cause("a stored body does not open under its key", "restore keys/root.key or the row from a backup"),
    "key_missing": _cause("the key of a stored body is gone", "restore the table data_key from a backup"),
    "call_missing": _cause("the frozen request of a command is gone", _REBUILD, rebuild=True),
    # --- what the other side refused
    "malformed": _cause(
        "the other side could not read the request",
        f"report it with the sample; after the fix: {_REBUILD}",
        rebuild=True,
    ),
    "bad_input": _cause(
        "the other side could not read a value", f"report it with the sample; after the fix: {_REBUILD}", rebuild=True
    ),
    "schema_differs": _cause(
        "the shop's API is not the one that the connector knows",
        f"bring the shop's plugin and Tidegate to versions that fit, then {_RETRY}",
    ),
    "rejected": _cause(
        "a rule of the other side refused it", f"mend what the rule asks for, then {_REBUILD}", rebuild=True
    ),
    "refused_by_rule": _cause("a rule of the ERP refused it", f"mend what the rule asks for in the ERP, then {_RETRY}"),
    "not_found": _cause(
        "what the request speaks of is not there",
        f"tidegate doctor --only connections checks addresses and modules; then {_RETRY}",
    ),
    "gone": _cause(
        "what the request speaks of was deleted there", "tidegate commands cancel, or make it there again and retry"
    ),
    "too_large": _cause("the request is larger than the other side takes", f"raise its limit, then {_RETRY}"),
    "payment_required": _cause("the account there is not paid for", f"pay it, then {_RETRY}"),
    "conflict": Fix("the other side was in another state, several times", _RETRY),
    "precondition_failed": Fix("the other side was in another state", _RETRY),
    "duplicate_reference": _cause(
        "there is something else under our reference", "compare both sides, then tidegate commands cancel"
    ),
    "reference_unknown": _cause(
        "a map named a party or a payment term that the ERP does not have",
        f"create it there or mend the map, then {_REBUILD}",
        rebuild=True,
    ),
    "address_missing": _cause("the party that a map named has no address in the ERP", f"add one there, then {_RETRY}"),
    "currency_unknown": _cause("the ERP does not have the order's currency", f"create it there, then {_RETRY}"),
    "stock_not_managed": _cause(
        "the shop does not count this article", f"turn on its stock tracking in the shop, then {_RETRY}"
    ),
    "stock_differs": Fix("the shop shows another number than the one that it was told", _RETRY),
    "sku_taken": _cause("another article of the shop has this SKU", f"give one of both another SKU, then {_RETRY}"),
    "id_malformed": _cause(
        "an id that is bound here is none of that system",
        f"tidegate connect NAME, then {_REBUILD}",
        rebuild=True,
    ),
    "batch_too_large": _cause(
        "the shop takes fewer items in a call", f"raise the limit of the shop's batches to 100, then {_RETRY}"
    ),
    "blocked_by_host": _cause(
        "a firewall in front of the shop refuses us", f"let this machine's address pass there, then {_RETRY}"
    ),
    "no_rest_api": _cause(
        "there is no REST API at this address",
        f"mend url in tidegate.yaml, or the shop's permalinks; tidegate doctor; then {_RETRY}",
    ),
    "refund_too_much": _cause(
        "more would be given back than the order cost there",
        "compare the refunds there with those at the payment provider, then tidegate commands cancel",
    ),
    "currency_differs": _cause(
        "the order there has another currency", "tidegate commands cancel, and record it there by hand"
    ),
    "order_not_shippable": _cause(
        "the order there is in a state in which nothing is shipped",
        "compare the order there with the shipment, then tidegate commands cancel, or mend its state and retry",
    ),
    "no_stock_level": _cause(
        "the variant has no stock level at the chosen location", "tidegate connect NAME --location, then retry"
    ),
    "insufficient_stock": Fix(
        "the shop shows fewer units than were shipped", "the stock number that follows mends it; then " + _RETRY
    ),
    "already_fulfilled": _cause(
        "somebody fulfilled these units in the shop by hand", "compare both, then tidegate commands cancel"
    ),
    "lines_unknown": _cause(
        "the order there does not have these lines", f"tidegate why order NUMBER; then {_REBUILD}", rebuild=True
    ),
    "fulfillment_refused": _cause("the shop refused the fulfillment", f"look at the order in the shop, then {_RETRY}"),
    "state_transition": Fix(
        "the shop does not let the fulfillment reach that state", f"look at the order in the shop, then {_RETRY}"
    ),
    "stale_stock": Fix("the shop's number changed meanwhile", _RETRY),
    "sale_draft": _cause("the sale stays a draft", f"mend the sale in the ERP, then {_RETRY}"),
    "sale_quotation": _cause("the sale stays a quotation", f"confirm it in the ERP, then {_RETRY}"),
    "sale_confirmed": _cause("the sale is confirmed and not processed", f"process it in the ERP, then {_RETRY}"),
    "sale_cancelled": _cause(
        "the sale was cancelled in the ERP", "tidegate commands cancel, or copy the sale there by hand"
    ),
    "sale_processing": _cause("the sale has shipments already", f"cancel its shipments in the ERP, then {_RETRY}"),
    "sale_done": _cause("the sale is done already", "tidegate commands cancel; a return is made by hand"),
    "authorisation_gone": _cause(
        "the authorisation lapsed, or was released, before the money was captured",
        "have the shopper pay anew, then tidegate commands cancel",
    ),
    "captured_meanwhile": _cause(
        "the payment was captured before it could be released", "give the money back, then tidegate commands cancel"
    ),
    "unexpected_state": _cause(
        "the payment is in a state in which this cannot be done",
        f"look at the payment at the provider, then {_RETRY}, or tidegate commands cancel",
    ),
    "card_declined": _cause("the card's bank refused it", "have the shopper pay anew, then tidegate commands cancel"),
    "already_refunded": _cause(
        "the money went back already", "compare the refunds of both sides, then tidegate commands cancel"
    ),
    "disputed": _cause("the payment is disputed: the bank took the money back", "tidegate commands cancel"),
    "exceeds_payment": _cause(
        "more is asked for than the payment holds", "compare the payment with the order, then tidegate commands cancel"
    ),
    "amount_impossible": _cause(
        "the provider cannot take an amount with these decimals", "give it back by hand, then tidegate commands cancel"
    ),
    "key_reused": _cause("its key was used for another request", _REBUILD, rebuild=True),
    "capture_missing": _cause("what is to be captured does not exist here", "tidegate commands cancel"),
    "payment_missing": _cause("no payment of the order is known for it", "tidegate commands cancel"),
    "refund_missing": _cause("the command's refund does not exist here", "tidegate commands cancel"),
    "still_running": Fix("the request of before still runs there", "it is looked at again by itself"),
    "dependency_failed": Fix("something behind the provider failed", "it is tried again by itself"),
    "deadline": Fix(
        "it was tried until its deadline", f"tidegate doctor --only connections; when the other side is up: {_RETRY}"
    ),
    "retries_ended": Fix(
        "it was tried as often as its schedule says", f"see that the receiver answers 2xx again, then {_RETRY}"
    ),
    # --- what nobody knows
    "needs_operator": _cause("no answer came, and the platform cannot be asked whether it happened", _LOOK),
    "answer_unstorable": _cause("the answer cannot be stored", _LOOK),
    # --- the way there
    "not_sent": Fix("it was not sent", _RETRY),
    "not_sent_dns": Fix(
        "the system's host name does not resolve",
        "check its url in tidegate.yaml and the name server; it goes on by itself",
    ),
    "not_sent_tls": _cause(
        "the system's certificate is not trusted", "renew it there, or check the url; it goes on by itself"
    ),
    "not_sent_timeout": Fix(
        "the system does not answer", "is it up, and does a firewall let us through? It goes on by itself"
    ),
    "not_sent_behind": Fix("those before it in the same call failed, so it was left for later", "it goes on by itself"),
    "half_made": Fix("the system has a part of it: an answer on the way failed", "it is finished with the next try"),
    "not_sent_connect": Fix("nothing listens at the system's address", "is it up? It goes on by itself"),
    "answer_lost": Fix("the connection broke before the answer", "it is tried or looked at again by itself"),
    "answer_timeout": Fix(
        "the answer did not come in time", "is the other side slow? It is tried or looked at again by itself"
    ),
    "answer_truncated": Fix(
        "the answer was cut", "look for a proxy between us; it is tried or looked at again by itself"
    ),
    "answer_too_large": _cause("the answer is larger than we read", "ask for less, or report it"),
    "answer_unreadable": Fix(
        "the answer is no answer of that API", "look for a proxy or a maintenance page; it is tried again by itself"
    ),
    "call_timeout": Fix("the call took too long", "is the other side slow? It is tried or looked at again by itself"),
    "server_error": Fix("the other side failed", "look into its log; it is tried or looked at again by itself"),
    "shop_error": Fix("the shop failed", "look into the shop's log; it is tried or looked at again by itself"),
    "rate_limited": Fix(
        "the other side asks to slow down", "it goes on by itself; tidegate doctor --only limits compares budgets"
    ),
    "locked": Fix("a record is locked there", "it is tried again by itself"),
    "too_early": Fix("the other side asks to come later", "it is tried again by itself"),
    "redirected": _cause(
        "the other side answers with a redirect",
        "write the address that it points to into tidegate.yaml, then tidegate connect NAME",
    ),
    "no_such_endpoint": _cause(
        "the other side does not have this part of the API", "check its version and the url, then tidegate connect NAME"
    ),
    "egress_blocked": _cause(
        "the system's address is neither public nor allowed",
        "add its network to network.allow in tidegate.yaml, then tidegate connect NAME",
    ),
    "base_url": _cause(
        "the system's address cannot be used", "mend its url in tidegate.yaml, then tidegate connect NAME"
    ),
    "base_url_missing": _cause(
        "the connection has no address", "write its url into tidegate.yaml, then tidegate connect NAME"
    ),
    "url_missing": _cause(
        "the connection has no url to send to", "write its url into tidegate.yaml, then tidegate connect NAME"
    ),
    "endpoint_missing": Fix(
        "nothing takes events at the receiver's address",
        "if it is not just being deployed, correct its url in tidegate.yaml; it is tried again by itself",
    ),
    "endpoint_gone": _cause(
        "the receiver asked to be sent nothing any more",
        "switch it on there or take it out of the flows, then tidegate connect NAME",
    ),
    "signing_key_unusable": _cause(
        "the key that we sign with cannot be used", "tidegate webhook rotate NAME --sending, then tidegate connect NAME"
    ),
    "signs_with_unknown": _cause(
        "signs_with is no kind of key", "write hmac or ed25519 in tidegate.yaml, then tidegate connect NAME"
    ),
    "payload_kb": _cause("payload_kb is no number", "correct it in tidegate.yaml, then tidegate connect NAME"),
    "cursor_moved": Fix("two processes read one feed", "it goes on by itself"),
    "settings_moved": Fix("the connection was connected anew while it was read", "it goes on by itself"),
    "item_missing": Fix(
        "the answer does not speak of every item", "report it with the sample; it is looked at again by itself"
    ),
    # --- who we are there
    "unauthorized": _cause("the credential is refused", _CONNECT),
    "session_refused": _cause(
        "the session is refused: a permission is missing, or the credential",
        f"tidegate doctor --only scopes; then {_CONNECT}",
    ),
    "login_refused": _cause("name or password are refused", _CONNECT),
    "password_login_disabled": _cause(
        "the shop lets nobody in by password",
        "allow the native log-in for this administrator, then tidegate connect NAME",
    ),
    "no_token": _cause(
        "the shop gives no token at the log-in",
        "add 'bearer' to authOptions.tokenMethod of the shop, then tidegate connect NAME",
    ),
    "token_refused": _cause(
        "the platform refuses the refresh token: it is expired, revoked, or was used elsewhere",
        "tidegate authorise NAME: somebody allows the app anew, and what waited goes on",
    ),
    "client_refused": _cause(
        "the platform does not accept the app's id and secret", "correct them: tidegate connect NAME"
    ),
    "token_unavailable": Fix("the platform gives no token", "it is tried again by itself"),
    "token_timeout": Fix("the platform does not answer to a request for tokens", "it is tried again by itself"),
    "token_busy": Fix("another process renews the token", "it is tried again by itself"),
    "token_unreadable": Fix(
        "the answer to a request for tokens cannot be read", "it is tried again by itself; report it with the sample"
    ),
    "credential_missing": _cause("the connection has no credential", _CONNECT),
    "wrong_mode": _cause("a test key meets a live object, or the other way round", _CONNECT),
    "wrong_key": _cause("the key is a publishable one", _CONNECT),
    "forbidden": _cause(
        "the credential may not do this", "give it the scopes of the connector's README, then tidegate connect NAME"
    ),
    "field_unreadable": _cause(
        "the key's user may not read a field",
        "give it the groups of the connector's README, then tidegate connect NAME",
    ),
    "location_hidden": _cause(
        "the key's user may not see a location",
        "give it the groups of the connector's README, then tidegate connect NAME",
    ),
    "record_missing": _cause(
        "a record that every order needs is not there", "create it in the ERP, then tidegate connect NAME"
    ),
    "waiting_auth": _cause("the connection waits for a valid credential", _CONNECT),
    "paused": _cause(
        "the connection waits until something is mended", "mend what its reason says, then tidegate connect NAME"
    ),
    # --- what came in
    "unreadable": _cause("the mapper cannot read the event", f"update Tidegate or the connector, then {_RETRY}"),
    "undecodable": _cause(
        "the key fields of a delivery cannot be read", f"update the connector or the sender, then {_RETRY}"
    ),
    "mapper_error": _cause(
        "the mapper failed at the event: a bug", f"report it with the sample; after the update: {_RETRY}"
    ),
    "connector_unknown": _cause(
        "the connector of the connection is not installed", f"install it, restart, then {_RETRY}"
    ),
    "crashes_worker": _cause(
        "processes ended while they worked on the event", f"report it; after the update: {_RETRY}"
    ),
    "no_line_matches": _cause(
        "no line of the shipment is a line of its order", "compare shipment and order in the ERP, then " + _RETRY
    ),
    "value_out_of_range": _cause("a value fits no column", f"report it with the sample; after the update: {_RETRY}"),
    "parent_missing": Fix(
        "what the event belongs to never came", f"bring it in (tidegate events replay), then {_RETRY}"
    ),
    "signature_missing": _cause("deliveries without a signature", _SENDER),
    "signature_malformed": _cause("deliveries whose signature is no signature", _SENDER),
    "signature_mismatch": _cause(
        "deliveries signed with another secret", "tidegate doctor --only webhooks --fix registers our secret again"
    ),
    "timestamp_stale": _cause(
        "deliveries signed long ago", "set the sender's clock by NTP, and ours; look for a queue in between"
    ),
    "timestamp_future": _cause("deliveries signed in the future", "set the sender's clock by NTP, and ours"),
    "secret_unusable": _cause(
        "the stored webhook secret cannot verify anything", "tidegate connect NAME --rotate-webhook"
    ),
    "secret_missing": _cause("a connection without webhook secret", "tidegate connect NAME"),
    "connector_missing": _cause("a connector is not installed, or cannot be loaded", "install it, and restart"),
    # --- Shopify
    "access_denied": _cause(
        "the app may not do this",
        "give it the scopes that the connector's README lists, install it anew, tidegate connect NAME",
    ),
    "article_unknown": _cause("the shop knows the article no more", f"tidegate connect NAME, then {_RETRY}"),
    "location_unknown": _cause(
        "the shop knows the location no more", f"tidegate connect NAME --location ID, then {_RETRY}"
    ),
    "stock_not_settable": _cause(
        "the shop does not let the article's stock be set: a bundle follows its parts",
        "ignore it with tidegate matches",
    ),
    "stock_stale": Fix(
        "the shop shows another number than expected: units were sold or set there", "nothing: a new one is made"
    ),
    "bulk_file": Fix("the file of a bulk operation cannot be read", "it is read again by itself"),
    "file_gone": Fix("a file that the platform made is gone", "it is asked for again by itself"),
    "bad_request": _cause("the shop found the request malformed", "report it: this is a bug"),
    "max_cost_exceeded": _cause("the shop found the question too dear", "report it: this is a bug"),
    "order_too_long": _cause("an order has more lines than can be read", "report it with the order's number"),
    "refused_there": _cause(
        "the shop says why it will not do this", f"mend what the reason says, then {_REBUILD}", rebuild=True
    ),
    "fulfillment_on_hold": Fix(
        "the units are on hold in the shop", f"release the hold in the shop's admin, then {_RETRY}"
    ),
    "idempotency_failed": _cause("nothing was done under this key", _REBUILD, rebuild=True),
    "idempotency_mismatch": _cause("the key stands for another request there", _REBUILD, rebuild=True),
    "idempotency_running": Fix("the same request is still being carried out there", _RETRY),
    "shop_frozen": _cause(
        "the shop is closed or its plan not paid", "see the shop's admin; then tidegate doctor --fix"
    ),
    "shop_unknown": _cause("there is no such shop", "check store in tidegate.yaml: NAME.myshopify.com"),
    "shop_locked": Fix("the shop is locked for now", f"{_RETRY} later; if it stays, ask Shopify's support"),
    "shop_timeout": _cause("the shop did not come to an end in time", _LOOK),
    "shop_unavailable": Fix("the shop could not serve it", _RETRY),
    "security_rejection": Fix("the shop holds the requests for an attack", "wait; if it stays, ask Shopify's support"),
    "throttled": Fix("the budget of points was spent", "nothing: it goes on by itself; is another app spending them?"),
    "token_missing": _cause(
        "the connection has no way to get a token", "tidegate connect NAME with access_token, or client_id"
    ),
    "app_uninstalled": _cause(
        "the shop removed the app", "install it and tidegate connect NAME, or remove the connection"
    ),
    "customer_data_request": _cause(
        "a customer asks what is kept about them",
        "send it to the merchant within 30 days, then tidegate issues resolve ISSUE",
    ),
    "refund_not_recorded": _cause(
        "the shop keeps no record of money that its own provider did not give back",
        "note it in the shop's order, never by its refund button (that pays twice), then tidegate commands cancel",
    ),
    "order_in_parts": Fix("a large order is read as the budget allows", "nothing: it goes on by itself"),
    "order_moved": Fix("an order changed while it was read", "nothing: it is read again by itself"),
    "webhooks_gone": _cause(
        "the shop delivers nothing to this Tidegate any more",
        "tidegate doctor --fix, then tidegate issues resolve ISSUE",
    ),
    "customer_redact": _cause(
        "a customer is to be erased", "erase them within 30 days, then tidegate issues resolve ISSUE"
    ),
    "shop_redact": _cause(
        "a shop that left is to be erased",
        "erase what is kept of it within 30 days, then tidegate issues resolve ISSUE",
    ),
    # --- us
    "connector_defect": _cause("the connector failed: a bug", f"report it with the sample; after the update: {_RETRY}"),
}
"""Code -> its fix."""

_OF_CLASS: Mapping[str, Fix] = {
    "rejected": _cause(
        "the other side says that it will never do this", f"mend what the reason says, then {_REBUILD}", rebuild=True
    ),
    "conflict": Fix("the other side was in another state", _RETRY),
    "transient": Fix("it did not happen", _RETRY),
    "rate_limited": FIXES["rate_limited"],
    "unknown": _cause("it was sent, and nobody knows what became of it", _LOOK),
    "authentication": FIXES["waiting_auth"],
    "configuration": FIXES["paused"],
    "unsent": _cause("no request could be made of it", f"mend what the reason says, then {_RETRY}"),
    "quarantined": _cause("the event cannot be applied", f"mend what the reason says, then {_RETRY}"),
    "connection": FIXES["paused"],
    "feed": Fix("a feed cannot be read", "tidegate doctor --only connections; it goes on by itself"),
    "intake": _cause("deliveries are refused at the door", _SENDER),
    "defect": FIXES["connector_defect"],
}
_UNKNOWN = Fix("a failure that has no word yet", "look at the sample, then " + _RETRY)


def fix_of(code: str, class_: str = "") -> Fix:
    """Return what to do about a code; for a connector's own code what its class asks for."""
    return FIXES.get(code) or _OF_CLASS.get(class_) or _UNKNOWN
