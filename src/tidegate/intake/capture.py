"""Checks a captured delivery against a connector, for people who set a webhook up or wonder about a refusal."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any

from tidegate.kernel.errors import ConfigurationError, IntakeError
from tidegate.sdk.connector import Connector


def verify_capture(connector: Connector, capture: Mapping[str, Any]) -> str | None:
    """Return None when the captured delivery would be accepted now, else the reason as `code: sentence`.

    A capture is a JSON object: `headers` (name -> value), `body_b64`, `secret`, and `now` (Unix seconds, default: the
    present, so that an old capture is stale). An authentic body whose keys cannot be read is named too: the door would
    store and quarantine it. Raises ConfigurationError when the capture or the connector cannot be used for this.
    """
    if connector.webhook is None:
        raise ConfigurationError(f"the connector {connector.name!r} takes no webhooks")
    try:
        headers = {str(name).lower(): str(value) for name, value in capture["headers"].items()}
        body = base64.b64decode(capture["body_b64"], validate=True)
        secret = str(capture["secret"])
        now = float(capture.get("now") or time.time())
    except (KeyError, AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise ConfigurationError(
            f"the capture is incomplete: {error}", hint="it needs headers, body_b64 and secret; now is optional"
        ) from error
    try:
        connector.webhook.verify(headers, body, (secret,), now)
    except IntakeError as error:
        return f"{error.code}: {error}"
    try:
        connector.webhook.read_keys(headers, body)
    except ValueError as error:
        return f"undecodable: {error}"
    return None
