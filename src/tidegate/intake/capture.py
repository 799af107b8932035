"""Checks a captured delivery against a connector, for people who set a webhook up or wonder about a refusal."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any

from tidegate.kernel.errors import ConfigurationError, IntakeError
from tidegate.sdk.connector import Connector, Webhook


def verify_capture(connector: Connector, capture: Mapping[str, Any]) -> str | None:
    """Return None when the captured delivery is genuine and fresh, else the reason as `code: sentence`.

    A capture is a JSON object: `headers` (name -> value), `body_b64`, `secret`, and `now` (Unix seconds, default: the
    present, so that an old capture is stale). Raises ConfigurationError when the capture or the connector cannot be used
    for this.
    """
    webhook, headers, body = _open(connector, capture)
    try:
        secret = str(capture["secret"])
        now = float(capture.get("now") or time.time())
    except (KeyError, TypeError, ValueError) as error:
        raise _incomplete(error) from error
    try:
        webhook.verify(headers, body, (secret,), now)
    except IntakeError as error:
        return f"{error.code}: {error}"
    return None


def find_unreadable(connector: Connector, capture: Mapping[str, Any]) -> str | None:
    """Return why the key fields of a captured body cannot be read, None when they can.

    The door answers such a delivery 2xx when it is genuine, stores it and quarantines it. Raises as `verify_capture`.
    """
    webhook, headers, body = _open(connector, capture)
    try:
        webhook.read_keys(headers, body)
    except ValueError as error:
        return str(error)
    return None


def _open(connector: Connector, capture: Mapping[str, Any]) -> tuple[Webhook, dict[str, str], bytes]:
    if connector.webhook is None:
        raise ConfigurationError(f"the connector {connector.name!r} takes no webhooks")
    try:
        headers = {str(name).lower(): str(value) for name, value in capture["headers"].items()}
        body = base64.b64decode(capture["body_b64"], validate=True)
    except (KeyError, AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise _incomplete(error) from error
    return connector.webhook, headers, body


def _incomplete(error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"the capture is incomplete: {error}", hint="it needs headers, body_b64 and secret; now is optional"
    )
