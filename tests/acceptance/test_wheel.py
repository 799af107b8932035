"""What `pip install tidegate` brings: the pages with their templates, the statements, the migrations."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.house.repository import PACKAGE, ROOT

SHOW_LOGIN = """
import tidegate
from tidegate.web.pages.assets import Assets
from tidegate.web.pages.render import Renderer
assets = Assets()
values = {"form_token": "t", "next": "/", "message": "", "name": "", "may_sign_in": True, "host": "h", "has_login": True}
html = Renderer(assets, "c0").page("login.html", {**values, "tenant": "main"})
assert assets.address("page.css") in html
print(tidegate.__file__)
"""


def test_a_built_wheel_serves_the_pages(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=500,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    kept = {
        f"tidegate/{path.relative_to(PACKAGE).as_posix()}"
        for folder in ("web/pages/templates", "web/pages/assets", "store/queries", "store/migrations")
        for path in (PACKAGE / folder).rglob("*.*")
    }

    shown = subprocess.run(
        [sys.executable, "-c", SHOW_LOGIN],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert len(kept) > 50
    assert kept <= names
    assert shown.stdout.strip().startswith(str(tmp_path / "site"))
