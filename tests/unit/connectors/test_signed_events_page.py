"""docs/reference/signed-events.md: what it tells receivers to type tells genuine from forged (SECURITY W9)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.house.repository import ROOT

from tidegate.sdk.signatures import new_signing_key, sign_standard_webhooks

PAGE = (ROOT / "docs" / "reference" / "signed-events.md").read_text()
BODY = '{"type": "order.updated", "data": {"title": "Grüße"}}'.encode()
ID = "cal_c0_1"
Check = Callable[[str, dict[str, str], bytes], bool]


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def in_python(secret: str, headers: dict[str, str], body: bytes) -> bool:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return bool(names["is_genuine"](secret, headers, body))


def in_node(secret: str, headers: dict[str, str], body: bytes) -> bool:
    asked = json.dumps([secret, headers, body.hex()])
    code = f'{block("js")}\nconst [s, h, b] = {asked};\nconsole.log(isGenuine(s, h, Buffer.from(b, "hex")));'
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run([node, "-e", code], capture_output=True, text=True, timeout=200, check=True)
    return done.stdout.strip() == "true"


@pytest.mark.parametrize(
    "check",
    [
        in_python,
        pytest.param(in_node, marks=pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")),
    ],
)
def test_w9_the_lines_of_the_page_tell_genuine_from_forged(check: Check) -> None:
    secret, older = new_signing_key("symmetric"), new_signing_key("symmetric")

    def headers(*keys: str, at: float = 0.0) -> dict[str, str]:
        moment = int(time.time() + at)
        signatures = [sign_standard_webhooks(key, ID, moment, BODY) for key in keys]
        return {"webhook-id": ID, "webhook-timestamp": str(moment), "webhook-signature": " ".join(signatures)}

    good = headers(secret)
    assert check(secret, good, BODY)
    assert check(secret, headers(older, secret), BODY), "while keys change there are two"
    for forged in (
        headers(older),
        headers(secret, at=-400),
        headers(secret, at=400),
        {**good, "webhook-id": "cal_c0_2"},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": "v1,é v1a," + good["webhook-signature"][3:]},
    ):
        assert not check(secret, forged, BODY)
    assert not check(secret, good, BODY + b" ")
