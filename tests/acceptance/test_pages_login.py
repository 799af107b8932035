"""From `init` to the first page: the printed password opens it, `login reset` makes another one (SECURITY A8)."""

from __future__ import annotations

import asyncio
import re

from tests.acceptance.installation import Installation, installed
from tests.pagesbed import visiting
from tidegate.runtime.project import Project

PASSWORD = re.compile(r"\b[a-z2-9]{5}(?:-[a-z2-9]{5}){4}\b")


def sign_in(installation: Installation, password: str, name: str = "admin") -> tuple[int, str]:
    """Return the status of signing in and the text of the first page then."""

    async def run() -> tuple[int, str]:
        async with visiting(f"http://127.0.0.1:{installation.web_port}") as visitor:
            answer = await visitor.sign_in(name, password)
            return answer.status, (await visitor.get("/")).text if answer.status == 303 else answer.text

    return asyncio.run(run())


def test_the_password_of_init_opens_the_first_page_and_reset_makes_another_one() -> None:
    with installed() as installation:
        installation.configure({}, "")
        first = PASSWORD.search(installation.first_words)
        assert first
        kept = Project(installation.folder).first_login_file
        assert kept.exists()

        installation.do("up", "--detach")

        assert not kept.exists()
        status, page = sign_in(installation, first[0])
        assert status == 303
        assert "All is well." in page or "a look." in page
        assert "No system is connected yet" in page
        reset = PASSWORD.search(installation.do("login", "reset").out)
        assert reset
        assert sign_in(installation, first[0])[0] == 403
        assert sign_in(installation, reset[0])[0] == 303

        added = PASSWORD.search(installation.do("login", "add", "ada").out)
        assert added
        assert sign_in(installation, added[0], "ada")[0] == 303
        assert installation.run("login", "add", "ada").status == 78
        assert installation.run("login", "add", "Not A Name").status == 78
        assert {row["name"] for row in installation.do("login", "list", "--json").json} == {"admin", "ada"}
        installation.do("login", "remove", "ada")
        assert sign_in(installation, added[0], "ada")[0] == 403
        assert installation.run("login", "remove", "ada").status == 78
        logs = "".join(path.read_text(errors="replace") for path in (installation.folder / "logs").glob("*.log"))
        assert not any(each[0] in logs for each in (first, reset, added))
