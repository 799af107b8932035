"""A program and the API of a whole installation: a key, questions, a change of mode, and the end of the key."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from tests.acceptance.installation import Installation, installed


def ask(
    installation: Installation, address: str, key: str, body: Any = None, once: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    if once is not None:
        headers["Idempotency-Key"] = once
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{installation.web_port}{address}", data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_program_gets_a_key_and_loses_it() -> None:
    """A4: what `tidegate keys` does is what the running process goes by."""
    with installed() as installation:
        installation.configure({}, "flows: {}")
        installation.do("up", "--detach")
        made = installation.do(
            "keys", "create", "screen", "--scope", "*:read", "--scope", "config:write", "--json"
        ).json
        key = made["key"]

        status, figures = ask(installation, "/v1/status", key)
        _, versions = ask(installation, "/v1/config/versions", key)
        _, shown = ask(installation, f"/v1/config/versions/{versions['items'][0]['version']}", key)
        document = shown["document"] + "\npolling: {enabled: false}\n"
        applied = ask(installation, "/v1/config", key, {"document": document}, "one")
        repeated = ask(installation, "/v1/config", key, {"document": document}, "one")
        listed = installation.do("keys", "list", "--json").json
        twice = installation.run("keys", "create", "screen", "--scope", "*:read")
        wrong = installation.run("keys", "create", "other", "--scope", "all")
        installation.do("keys", "revoke", "screen")
        after, problem = ask(installation, "/v1/status", key)

        assert status == 200
        assert figures["config_version"] == 1
        assert (applied[0], applied[1]["version"], applied[1]["is_new"]) == (200, 2, True)
        assert repeated == applied
        assert [(each["name"], each["state"]) for each in listed] == [("screen", "good")]
        assert listed[0]["last_used_at"] is not None
        assert key not in json.dumps(listed)
        assert (twice.status, wrong.status) == (78, 78)
        assert "tidegate keys revoke" in twice.err
        assert "scopes are" in wrong.err
        assert (after, problem["code"]) == (401, "unauthorized")
        secret = key[-58:-6]
        for log in (installation.folder / "logs").glob("*.log"):
            assert secret not in log.read_text(errors="replace"), log.name
