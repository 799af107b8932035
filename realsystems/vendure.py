"""A real Vendure shop: installed, started and stopped here; several run side by side.

`python -m realsystems.vendure` is a smoke run of two shops (see `vendure_smoke`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from realsystems.graphql_client import GraphQLClient
from realsystems.packages import run_installer
from realsystems.statedir import default_state_dir
from realsystems.vendure_driver import VendureDriver
from realsystems.worldpg import WorldPostgres, free_port, is_free

REPOSITORY = Path(__file__).resolve().parent.parent
SHOP_FILES = Path(__file__).resolve().parent / "vendure"
PLUGIN_FILES = REPOSITORY / "src" / "tidegate" / "connectors" / "vendure" / "plugin"
TEMPLATE_DATABASE = "shop_base"
USERNAME = PASSWORD = "superadmin"
READY_TIMEOUT_SECONDS = 90.0
STOP_TIMEOUT_SECONDS = 20.0
NODE_MAJOR_MIN = 20


class ShopUnavailableError(RuntimeError):
    """Node is missing, or the shop did not come up."""


class VendureShop:
    """One shop: a Node process, a database of its own and a port that it keeps over restarts.

    `name` names the database and the log (`<state>/vendure/<name>.log`). Programs and packages are
    shared by all shops of a state folder; a new shop is cloned from a populated template database.
    """

    def __init__(
        self,
        name: str,
        *,
        world: WorldPostgres,
        port: int | None = None,
        state_dir: Path | None = None,
        environment: dict[str, str] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
            raise ValueError(f"not a shop name: {name!r}")
        self.name = name
        self._world = world
        self._folder = (state_dir or default_state_dir()) / "vendure"
        self._environment = environment or {}
        self._say = say or _print
        self._process: subprocess.Popen[bytes] | None = None
        self._client = GraphQLClient(port or self._remembered_port(), USERNAME, PASSWORD)
        self.driver = VendureDriver(self._client)
        self.create_location = self.driver.create_location
        self.seed_catalogue = self.driver.seed_catalogue
        self.place_order = self.driver.place_order
        self.orders = self.driver.orders
        self.stock_levels = self.driver.stock_levels
        self.fulfillments = self.driver.fulfillments

    @property
    def port(self) -> int:
        """The loopback port of the next start; `start` takes another one when somebody else has it by then."""
        return self._client.port

    @property
    def base_url(self) -> str:
        """The shop's address; the APIs are `/admin-api` and `/shop-api` below it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """The file that the shop's output goes to."""
        return self._folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The Node process's id. Raises ShopUnavailableError when this object has not started it."""
        if self._process is None:
            raise ShopUnavailableError(f"{self.name} is not running")
        return self._process.pid

    def admin(self, document: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run an Admin API operation as the superadmin; see `GraphQLClient.admin`."""
        return self._client.admin(document, variables)

    def install_packages(self) -> bool:
        """Install the packages that all shops share if needed; tell whether that was so.

        Raises ShopUnavailableError without a Node that is new enough, PackagesUnavailableError when npm fails.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            return self._install_packages()

    def install(self) -> None:
        """Install packages, copy our files and make the template database, each only when needed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._install_packages()
            self._copy_files()
            self._world.start()
            self._make_template()

    def start(self, *, fresh: bool = False) -> None:
        """Start the shop and wait until it answers; `fresh` gives it a new database without orders.

        Ends a process of this shop that an earlier run left behind. Raises ShopUnavailableError with
        the end of the log when the shop does not come up.
        """
        self._end_leftover()
        self.install()
        synchronize = self._prepare_database(fresh=fresh)
        self._move_when_port_is_taken()
        self._process = self._spawn("index.js", self.name, self.log_path, synchronize=synchronize, port=self.port)
        self._pid_path.write_text(f"{self._process.pid}\n")
        self._wait_for_line("READY", self._process, self.log_path)
        self._mark(self.name)

    def run_script(self, script: str) -> str:
        """Run one of the shop folder's scripts on this shop's database and return its output.

        The shop itself must not be running. Raises ShopUnavailableError when the script fails.
        """
        self.install()
        log = self._folder / f"{self.name}.{script}.log"
        synchronize = self._prepare_database(fresh=False)
        process = self._spawn(script, self.name, log, synchronize=synchronize, port=free_port())
        if process.wait(timeout=READY_TIMEOUT_SECONDS) != 0:
            raise ShopUnavailableError(f"{script} failed: {log.read_text(errors='replace')[-3000:]}")
        return log.read_text()

    def stop(self) -> None:
        """Ask the shop to end, and make it end after a while; does nothing when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the shop at once, as a crash would."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def memory_kb(self) -> int:
        """Return the resident memory of the Node process in kB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) if found else 0

    @property
    def _pid_path(self) -> Path:
        return self._folder / f"{self.name}.pid"

    def _remembered_port(self) -> int:
        path = self._folder / f"{self.name}.port"
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(path.read_text())
        path.parent.mkdir(parents=True, exist_ok=True)
        port = free_port()
        path.write_text(f"{port}\n")
        return port

    def _move_when_port_is_taken(self) -> None:
        if not is_free(self.port):
            self._client.port = free_port()
            (self._folder / f"{self.name}.port").write_text(f"{self.port}\n")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _install_packages(self) -> bool:
        wanted = _digest(SHOP_FILES / "package.json", SHOP_FILES / "package-lock.json")
        marker = self._folder / "installed"
        if marker.exists() and marker.read_text() == wanted:
            return False
        npm = require_node()
        started = time.monotonic()
        self._say("installing packages (about half a minute, once) ...")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SHOP_FILES / name, self._folder / name)
        run_installer(
            [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"],
            registry="the npm registry",
            folder=self._folder,
        )
        marker.write_text(wanted)
        self._say(f"packages installed in {time.monotonic() - started:.0f} s")
        return True

    def _copy_files(self) -> None:
        for path in SHOP_FILES.glob("*.js"):
            shutil.copy(path, self._folder / path.name)
        target = self._folder / "tidegate-plugin"
        target.mkdir(exist_ok=True)
        for path in PLUGIN_FILES.glob("*.js*"):
            shutil.copy(path, target / path.name)

    def _schema_version(self) -> str:
        """Return a digest of everything that decides what the tables look like."""
        return _digest(SHOP_FILES / "package-lock.json", *SHOP_FILES.glob("*.js"), *PLUGIN_FILES.glob("*.js"))

    def _make_template(self) -> None:
        if self._has_current_schema(TEMPLATE_DATABASE):
            return
        started = time.monotonic()
        self._say("making the template database ...")
        partial = f"{TEMPLATE_DATABASE}_partial"
        self._world.drop_database(partial)
        self._world.create_database(partial)
        log = self._folder / "populate.log"
        process = self._spawn("populate.js", partial, log, synchronize=True, port=free_port())
        self._wait_for_line("POPULATED", process, log)
        process.wait(timeout=STOP_TIMEOUT_SECONDS)
        self._world.drop_database(TEMPLATE_DATABASE)
        self._world.rename_database(partial, TEMPLATE_DATABASE)
        self._mark(TEMPLATE_DATABASE)
        self._say(f"template made in {time.monotonic() - started:.0f} s")

    def _prepare_database(self, *, fresh: bool) -> bool:
        """Make sure that the shop's database exists; return whether its tables must be brought up to date."""
        if fresh:
            self._world.drop_database(self.name)
        if not self._world.has_database(self.name):
            with self._locked():
                self._world.create_database(self.name, TEMPLATE_DATABASE)
            return False
        return not self._has_current_schema(self.name)

    def _has_current_schema(self, database: str) -> bool:
        read = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{}'"
        return self._world.query("postgres", read.format(database)) == self._schema_version()

    def _mark(self, database: str) -> None:
        self._world.query("postgres", f"COMMENT ON DATABASE \"{database}\" IS '{self._schema_version()}'")

    def _spawn(self, script: str, database: str, log: Path, *, synchronize: bool, port: int) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "TZ": "UTC",  # Vendure's timestamps carry no zone
            "VENDURE_DISABLE_TELEMETRY": "true",
            "SHOP_PORT": str(port),
            "SHOP_DATABASE_PORT": str(self._world.port),
            "SHOP_DATABASE": database,
            "SHOP_SYNCHRONIZE": "1" if synchronize else "0",
            **self._environment,
        }
        node = shutil.which("node") or "node"
        with log.open("wb") as output:
            return subprocess.Popen(
                [node, script], cwd=self._folder, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _wait_for_line(self, line: str, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            ended = process.poll() is not None  # looked at before the log, which may get its last line meanwhile
            text = log.read_text(errors="replace")
            if line in text.splitlines():
                return
            if ended:
                break
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise ShopUnavailableError(f"{self.name}: no {line} in {log}: {text[-2000:]}")

    def _end(self, how: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._pid_path.unlink(missing_ok=True)
        self._process = None

    def _end_leftover(self) -> None:
        """End a process of this shop that no object controls any more: same folder, same database."""
        try:
            pid = int(self._pid_path.read_text())
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            stands_here = Path(os.readlink(f"/proc/{pid}/cwd")) == self._folder.resolve()  # noqa: PTH115
        except (OSError, ValueError):
            return
        if not stands_here or f"SHOP_DATABASE={self.name}".encode() not in environment:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
        while Path(f"/proc/{pid}/cwd").exists() and time.monotonic() < deadline:
            time.sleep(0.05)


def _print(text: str) -> None:
    print(f"[vendure] {text}", flush=True)


def require_node() -> str:
    """Return the path of npm. Raises ShopUnavailableError when Node or npm is missing, or Node is too old."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        missing = "node" if not node else "npm"
        raise ShopUnavailableError(f"the shops need Node {NODE_MAJOR_MIN} or newer with npm: there is no {missing}")
    ended = subprocess.run([node, "--version"], check=False, capture_output=True, text=True)
    version = re.match(r"v(\d+)\.", ended.stdout)
    if version is None or int(version[1]) < NODE_MAJOR_MIN:
        found = ended.stdout.strip() or "one that does not run"
        raise ShopUnavailableError(f"the shops need Node {NODE_MAJOR_MIN} or newer, found {found}")
    return npm


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    from realsystems.vendure_smoke import main

    main()
