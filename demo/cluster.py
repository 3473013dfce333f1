"""A whole Airflow as a cluster has it: Celery workers, two triggerers, Redis and PostgreSQL, supervised."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import celery
import psycopg2
from celery.exceptions import TimeoutError as CeleryTimeoutError
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from demo.airflow import COMPONENTS, HOST, AirflowError, LocalAirflow, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import ExitStack

__all__ = ["BATCH_QUEUE", "CeleryAirflow"]

BATCH_QUEUE = "batch"
"""A queue of its own for batches: in one queue, each leg of theirs waits for all mapped tasks before it."""

_QUEUES = f"default,{BATCH_QUEUE}"
_WORKER = ["celery", "worker", "--queues", _QUEUES, "--skip-serve-logs"]
_SUPERVISED_EVERY = 1.0
_STOP_PATIENCE = 10.0
_JOBS = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}

CLUSTER = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": "4",
    # A task that Redis delivers a second time while it still runs would be run twice.
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
    # 300 by default: so long nobody finds out that a worker is dead.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
}


class CeleryAirflow(LocalAirflow):
    """A :class:`LocalAirflow` with two workers and two triggerers over Redis and PostgreSQL.

    It needs the programs ``postgres``, ``initdb`` and ``redis-server``, as Debian's ``postgresql`` and
    ``redis-server`` bring them. What ends is started again within a second or two, as systemd or Kubernetes
    do it.
    """

    components: Mapping[str, Sequence[str]] = {
        **{name: COMPONENTS[name] for name in ("api-server", "scheduler", "dag-processor")},
        "triggerer-1": COMPONENTS["triggerer"],
        "triggerer-2": COMPONENTS["triggerer"],
        "worker-1": [*_WORKER, "--celery-hostname", "worker-1@%h"],
        "worker-2": [*_WORKER, "--celery-hostname", "worker-2@%h"],
    }
    servers = ("postgres", "redis")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.restarts: Counter[str] = Counter()
        self._ports = {name: free_port() for name in self.servers}
        self._data: Path
        self._ending = threading.Event()
        self._held: set[str] = set()
        self._changed = datetime.now(timezone.utc)
        self._control: Any

    @property
    def everything(self) -> list[str]:
        """The names of all that runs, the servers first."""
        return [*self.servers, *self.components]

    def start(self, component: str) -> None:
        """Start a component or a server, and look for signs of life from now on only."""
        if component in self.servers:
            self._spawn(component, self._program_command(component))
        else:
            super().start(component)
        self._changed = datetime.now(timezone.utc)

    def send(self, component: str, number: signal.Signals) -> None:
        """Send a signal to a component and to all that it started; look for signs of life from now on."""
        super().send(component, number)
        self._changed = datetime.now(timezone.utc)

    def restart(self, component: str, away: float) -> None:
        """Stop a component or a server as an administrator does, and start it ``away`` seconds later."""
        with self.holding([component]):
            process = self._processes[component]
            # For PostgreSQL it means to part with its clients at once; the others take it like Ctrl-C.
            process.send_signal(signal.SIGINT if component in self.servers else signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_PATIENCE)
            self.send(component, signal.SIGKILL)
            process.wait()
            time.sleep(away)

    @contextmanager
    def holding(self, names: Iterable[str]) -> Iterator[None]:
        """Start none of these again before the end of the block."""
        self._held.update(names)
        try:
            yield
        finally:
            self._held.difference_update(names)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask Airflow's database."""
        with closing(psycopg2.connect(self._database(), connect_timeout=3)) as connection:
            connection.set_session(autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(sql, values)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows

    def healthy(self) -> set[str]:
        """Tell which components gave a sign of life after the last start or signal."""
        well = super().healthy() & {"api-server"}
        try:
            beats = self.query(
                "select job_type from job where state = 'running' and latest_heartbeat > %s", self._changed
            )
            nodes = [name for answer in self._control.ping(timeout=1) for name in answer]
        except (psycopg2.Error, RedisError, OperationalError, CeleryTimeoutError, OSError):
            return well
        alive = Counter(job for (job,) in beats)
        for component in self.components:
            kind = component.rstrip("-12")
            as_many = sum(name.startswith(kind) for name in self.components)
            if alive[_JOBS.get(kind, "")] >= as_many:
                well.add(component)
        return well | {name.partition("@")[0] for name in nodes}

    def _start_servers(self, stack: ExitStack) -> None:
        self._data = Path(stack.enter_context(_folder_of_postgres()))
        self._env.update(self._addresses())
        self._init_database()
        for name in self.servers:
            self._on_progress(f"Airflow: starting {name}")
            self.start(name)
        self._wait_for_database()
        app = celery.Celery(broker=self._env["AIRFLOW__CELERY__BROKER_URL"])
        self._control = stack.enter_context(closing(app)).control
        thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        stack.callback(thread.join)
        stack.callback(self._ending.set)
        thread.start()

    def _supervise(self) -> None:
        """Start again what has ended, in the order of their needs."""
        while not self._ending.wait(_SUPERVISED_EVERY):
            for name in self.everything:
                if self._is_over(name) and not self._ending.is_set():
                    self.restarts[name] += 1
                    self.start(name)

    def _is_over(self, name: str) -> bool:
        process = self._processes.get(name)
        return name not in self._held and process is not None and process.poll() is not None

    def _check_alive(self, component: str) -> None:
        """Do nothing: the supervisor starts again what ended."""

    def _program_command(self, name: str) -> list[str]:
        port = str(self._ports[name])
        if name == "redis":
            folder = self.home / "redis"
            folder.mkdir(exist_ok=True)
            place = ["--port", port, "--bind", HOST, "--dir", str(folder)]
            # On disk, so that what is queued survives a restart. A title would be written over our mark.
            return ["redis-server", *place, "--appendonly", "yes", "--set-proc-title", "no"]
        settings = [f"listen_addresses={HOST}", "unix_socket_directories=", "max_connections=300"]
        options = [part for setting in settings for part in ("-c", setting)]
        return [*_AS_POSTGRES, _program("postgres"), "-D", str(self._data), "-p", port, *options]

    def _init_database(self) -> None:
        command = [*_AS_POSTGRES, _program("initdb"), "-D", str(self._data), "-A", "trust", "-U", "airflow"]
        done = subprocess.run(command, check=False, cwd="/", capture_output=True, text=True)
        if done.returncode:
            raise AirflowError(f"initdb ended with code {done.returncode}. It printed:\n{done.stderr}")

    def _wait_for_database(self) -> None:
        for _ in range(120):
            try:
                self.query("select 1")
            except psycopg2.OperationalError:
                self._ending.wait(0.5)
            else:
                return
        raise AirflowError(f"PostgreSQL did not start.\n{self._tail('postgres')}")

    def _database(self) -> str:
        return f"postgresql://airflow:airflow@{HOST}:{self._ports['postgres']}/postgres"

    def _addresses(self) -> dict[str, str]:
        # SQLAlchemy 2.1 takes "postgresql://" for psycopg 3: the address names the driver.
        database = self._database().replace("postgresql://", "postgresql+psycopg2://")
        return {
            **CLUSTER,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            "AIRFLOW__CELERY__BROKER_URL": f"redis://{HOST}:{self._ports['redis']}/0",
            **self._extra_env,
        }


def _folder_of_postgres() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that the user who runs PostgreSQL can reach: its path is no one else's."""
    folder = tempfile.TemporaryDirectory(prefix="veo-postgres-", ignore_cleanup_errors=True)
    if _AS_POSTGRES:
        user = pwd.getpwnam("postgres")
        os.chown(folder.name, user.pw_uid, user.pw_gid)
    return folder


def _program(name: str) -> str:
    """Find a program of PostgreSQL: Debian does not put these into the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    if found is None:
        raise AirflowError(f"There is no {name}: install PostgreSQL, like `apt-get install postgresql`.")
    return found


_AS_POSTGRES = (
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
)
"""PostgreSQL refuses to run as root."""
