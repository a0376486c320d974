"""A PostgreSQL server of the tests' own, which can be killed and restarted."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HOST = "127.0.0.1"
OWNER = "postgres"
PROGRAMS = ("postgres", "initdb", "createdb", "pg_isready")
START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 20
# However its creator ends, a server ends after this.
LIFETIME_S = 900
# Below the range from which systems draw the ports of outgoing connections: nobody takes this
# one while the server restarts.
PORTS = range(15_000, 30_000)
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresServer:
    """Runs PostgreSQL on a free port of the loopback interface, with its data in ``folder``.

    Every local user is let in. A commit is answered when it is in the write-ahead log; unless
    ``is_durable``, the log reaches the operating system only, which survives a killed server but
    not a power cut.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False):
        self.port = free_port()
        self._is_durable = is_durable
        self._programs = find_programs()
        self._account = {"user": OWNER, "group": OWNER} if os.geteuid() == 0 else {}
        self._folder = folder
        self._temporary: Path | None = None
        self._process: subprocess.Popen | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self.stop()

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{OWNER}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        self._call("createdb", f"--host={HOST}", f"--port={self.port}", f"--username={OWNER}", name)

    def start(self) -> None:
        """Make the data folder and start the server; return when it takes connections."""
        self._prepare_folder()
        self._call(
            "initdb",
            *(f"--pgdata={self._folder / 'data'}", f"--username={OWNER}", "--no-sync"),
            *("-A", "trust", "-E", "UTF8", "--locale=C"),
        )
        self._launch()

    def restart(self, mode: str = "immediate") -> None:
        """Stop the server and start it again, as ``pg_ctl restart -w`` does.

        ``immediate`` is a crash: connections break, and recovery comes first. Unlike pg_ctl's, the
        new server has a limited lifetime, too.
        """
        self._end(mode)
        self._launch()

    def stop(self) -> None:
        if self._process is not None:
            self._end("immediate")
        if self._temporary is not None:
            shutil.rmtree(self._temporary)
            self._temporary = None

    def _prepare_folder(self) -> None:
        """Give the folder to the server's user, or take another one if it cannot get there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._account:
            return
        # pytest's folders are closed to all but the user that runs it.
        is_reachable = subprocess.run(["test", "-x", self._folder], check=False, **self._account)
        if is_reachable.returncode:
            self._folder = self._temporary = Path(tempfile.mkdtemp(dir="/tmp"))
        owner = pwd.getpwnam(OWNER)
        os.chown(self._folder, owner.pw_uid, owner.pw_gid)

    def _launch(self) -> None:
        settings = {
            "port": self.port,
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": 200,
            "synchronous_commit": "on",
            "fsync": "on" if self._is_durable else "off",
            "full_page_writes": "on" if self._is_durable else "off",
        }
        limit = ["timeout", "--signal=INT", "--kill-after=10", str(LIFETIME_S)]
        server = [self._programs / "postgres", "-D", self._folder / "data"]
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*limit, *server, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._account,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        question = [self._programs / "pg_isready", "-q", "-h", HOST, "-p", str(self.port)]
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run(question, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "log").read_text()
                self.stop()
                raise RuntimeError(f"PostgreSQL did not start:\n{log[-2_000:]}")
            time.sleep(0.02)

    def _end(self, mode: str) -> None:
        """Signal ``timeout``, which passes the signal on and ends when the server has ended.

        As at the end of the lifetime, it kills a server that does not end by itself.
        """
        self._process.send_signal(SIGNALS[mode])
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def _call(self, program: str, *args) -> None:
        done = subprocess.run(
            [self._programs / program, *args],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self._folder,
            **self._account,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()}")


def find_programs() -> Path:
    """The folder of PostgreSQL's programs: the PATH's, else pg_config's, else the newest."""
    for folder in _candidates():
        if all((folder / program).is_file() for program in PROGRAMS):
            return folder
    raise RuntimeError("no PostgreSQL server is installed: apt-get install postgresql")


def _candidates():
    if server := shutil.which("postgres"):
        yield Path(server).resolve().parent
    if config := shutil.which("pg_config"):
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(asked.stdout.strip())
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            # A connection that has ended keeps its port for a while, but not from a server.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port of {PORTS} is free")
