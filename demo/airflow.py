"""A whole Airflow in a folder of its own, started, driven over its REST API, and ended without a trace."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from demo.processes import end_carriers, ending_on_signals, guarded
from demo.releases import HOST, INSTALLED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

__all__ = ["COMPONENTS", "HOST", "AirflowError", "LocalAirflow", "free_port"]

AIRFLOW = (sys.executable, "-m", "airflow")
MARK = "LOCAL_AIRFLOW"  # an environment variable by which all our processes are known

COMPONENTS = {name: [name, *options] for name, options in INSTALLED.components.items()}
"""What runs, by its name, and the arguments of ``airflow`` that start it."""
DAG_PROCESSOR = "dag-processor" if "dag-processor" in COMPONENTS else "scheduler"

SETTINGS = {
    # SQLite: with the default of 32, fifty tasks bring everything down with "database is locked".
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # DAGs run when triggered and at no other time, whatever their schedule: a bill can be foretold.
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
    # No encryption, so that a test can read in the database what must not be there.
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    # Without this, processes that set their title write it over their environment, our mark included.
    "SPT_NOENV": "1",
    # Whoever has a proxy set: nothing here goes through it.
    "NO_PROXY": f"{HOST},localhost",
    "no_proxy": f"{HOST},localhost",
}


class AirflowError(RuntimeError):
    """Airflow did not start, or answered with an error."""


class LocalAirflow:
    """All components of the installed Airflow over SQLite, on this machine only.

    Entering starts them afresh in ``home`` and waits until all are healthy. Leaving ends them with all
    that they started, even when this process is killed. ``env`` is added to their environment, which has
    none of the caller's Airflow and AWS settings. ``login`` is the name and password of an admin, where not
    everybody is one.
    """

    components: Mapping[str, Sequence[str]] = COMPONENTS

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        env: Mapping[str, str] | None = None,
        on_progress: Callable[[str], None] = lambda _: None,
        patience: float = 180,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.home = home.resolve()
        self._dags = dags.resolve()
        self._extra_env = dict(env or {})
        self._on_progress = on_progress
        self._patience = patience
        self._login = login
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._running: ExitStack
        self._port: int
        self._env: dict[str, str]
        self._http: httpx.Client

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(ending_on_signals())
            stack.callback(self._reap)
            self._prepare(stack.enter_context(guarded(MARK)))
            stack.enter_context(self._http)
            self._start_servers(stack)
            self._on_progress("Airflow: creating its database")
            self.command("db", "migrate")
            self._on_progress(f"Airflow: starting {', '.join(self.components)}")
            for component in self.components:
                self.start(component)
            self.wait_until_healthy()
            if INSTALLED.has_tokens:
                self._http.headers["Authorization"] = f"Bearer {self.token(self._login)}"
            self._running = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    # Components

    def start(self, component: str) -> None:
        """Start a component: at the beginning, or again after ``kill``."""
        own = component == INSTALLED.server
        command = self._server_command(self._port) if own else [*AIRFLOW, *self.components[component]]
        self._spawn(component, command)

    def _server_command(self, port: int) -> list[str]:
        return [*AIRFLOW, *self.components[INSTALLED.server], "--port", str(port)]

    def _spawn(
        self, component: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with self.component_log(component).open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**self._env, **(env or {})},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us, and we end them in order
            )
        self._processes[component] = process
        return process

    @contextmanager
    def another_server(self, env: Mapping[str, str]) -> Iterator[str]:
        """Run one more API server of this Airflow, with other settings; return its URL."""
        port = free_port()
        server = self._spawn("another-server", self._server_command(port), env)
        url = f"http://{HOST}:{port}"
        try:
            deadline = time.monotonic() + self._patience
            while not _answers(url):
                self._check_alive("another-server")
                if time.monotonic() > deadline:
                    raise AirflowError(f"There is no second API server.\n{self._tail('another-server')}")
                time.sleep(0.25)
            yield url
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()

    def kill(self, component: str) -> None:
        """Kill a component and all that it started, as a crash of its machine would."""
        process = self._processes[component]  # a supervisor may put another in its place
        self.send(component, signal.SIGKILL)
        process.wait()

    def send(self, component: str, number: signal.Signals) -> None:
        """Send a signal to a component and to all that it started."""
        for one in self.family(component):
            with suppress(psutil.NoSuchProcess):  # a task that ended by itself in that moment
                one.send_signal(number)

    def family(self, component: str) -> list[psutil.Process]:
        """List a component's processes, itself the last; none if it has ended."""
        try:
            main = psutil.Process(self.pid(component))
            return [*main.children(recursive=True), main]
        except psutil.NoSuchProcess:
            return []

    def pid(self, component: str) -> int:
        """Return a component's process id."""
        return self._processes[component].pid

    def component_log(self, component: str) -> Path:
        """Tell where a component's output is."""
        return self.home / "components" / f"{component}.log"

    def token(self, login: tuple[str, str] | None) -> str:
        """Return a token for the API: of a user with a password, or of an Airflow where all are admins."""
        url = f"{self.url}/auth/token"
        if login is None:
            token: str = self._request("GET", url)["access_token"]
        else:
            body = {"username": login[0], "password": login[1]}
            token = self._request("POST", url, json=body)["access_token"]
        return token

    # The command line

    def command(self, *arguments: str) -> str:
        """Run ``airflow`` with these arguments to its end, and return what it printed.

        :raises AirflowError: the command failed; the error has what it printed.
        """
        done = subprocess.run(
            [*AIRFLOW, *arguments],
            check=False,
            env=self._env,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            timeout=self._patience,
        )
        if done.returncode:
            said = f"airflow {' '.join(arguments)} ended with code {done.returncode}."
            raise AirflowError(f"{said} It printed:\n{done.stdout}")
        return done.stdout

    # The REST API

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until the DAG processor has taken up the DAG; an import error ends the wait."""
        deadline = time.monotonic() + self._patience
        while self._http.get(f"dags/{dag_id}").status_code == httpx.codes.NOT_FOUND:
            for error in self._request("GET", "importErrors")["import_errors"]:
                raise AirflowError(f"{error['filename']} cannot be imported:\n{error['stack_trace']}")
            if time.monotonic() > deadline:
                raise AirflowError(f"No DAG {dag_id} was found.\n{self._tail(DAG_PROCESSOR)}")
            time.sleep(0.5)

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        logical_date: datetime | None = None,
    ) -> str:
        """Start a run of the DAG, for now if no date is given, and return the run's id."""
        when = logical_date or datetime.now(timezone.utc)
        body = {"logical_date": when.isoformat(), "conf": dict(conf or {})}
        run: str = self._request("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run as the API shows it."""
        run: dict[str, Any] = self._request("GET", f"dags/{dag_id}/dagRuns/{run_id}")
        return run

    def dag_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return a DAG's runs as the API shows them, in the order in which they were made."""
        return self._all("dag_runs", f"dags/{dag_id}/dagRuns")

    def backfills(self, dag_id: str) -> list[dict[str, Any]]:
        """Return a DAG's backfills as the API shows them, in the order in which they were made."""
        return self._all("backfills", "backfills", dag_id=dag_id)

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances as the API shows them, in the order of their ids."""
        instances = self._all("task_instances", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances")
        return sorted(instances, key=lambda one: (one["task_id"], one["map_index"]))

    def _all(self, what: str, path: str, **params: str) -> list[dict[str, Any]]:
        """Ask for a list's pages: the API gives a hundred at a time, whatever is asked for."""
        found: list[dict[str, Any]] = []
        while page := self._page(what, path, {**params, "offset": len(found)}):
            found += page
        return found

    def _page(self, what: str, path: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        params = {**params, "limit": 100, **INSTALLED.order(what)}
        page: list[dict[str, Any]] = self._request("GET", path, params=params)[what]
        return page

    def pool(self, name: str = "default_pool") -> dict[str, Any]:
        """Return a pool with its slots: occupied, running, queued, deferred, open."""
        pool: dict[str, Any] = self._request("GET", f"pools/{name}")
        return pool

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = -1,
    ) -> Any:
        """Return what a task left under ``key``."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        # Airflow 2 gives a text otherwise, whatever the value is.
        params = {"map_index": map_index, "stringify": False}
        return self._request("GET", path, params=params)["value"]

    def audit_log(self, event: str) -> list[dict[str, Any]]:
        """Return the entries of Airflow's audit log about an event."""
        entries: list[dict[str, Any]] = self._request("GET", "eventLogs", params={"event": event})[
            "event_logs"
        ]
        return entries

    def edit_xcom(self, path: str, value: Any) -> None:
        """Change an XCom, as an editor of its DAG may."""
        self._request("PATCH", path, json={"value": value})

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return the log of one try of a task, one event on a line."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        log = self._request("GET", path, params={"map_index": map_index, "full_content": True})
        return INSTALLED.log_text(log["content"])

    def links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return a task instance's extra links, by their names."""
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        links: dict[str, str | None] = self._request("GET", path)["extra_links"]
        return links

    def clear(self, dag_id: str, run_id: str, task_ids: list[str] | None = None) -> None:
        """Clear tasks of a run, all of them if none is named, so that they run again."""
        body: dict[str, Any] = {"dry_run": False, "only_failed": False, "dag_run_id": run_id}
        if task_ids:
            body["task_ids"] = task_ids
        self._request("POST", f"dags/{dag_id}/clearTaskInstances", json=body)

    def question(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return what a task asks a person (Airflow 3.1 and later)."""
        asked: dict[str, Any] = self._request("GET", self._question_path(dag_id, run_id, task_id))
        return asked

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer what a task asks."""
        body = {"chosen_options": [option], "params_input": {}}
        self._request("PATCH", self._question_path(dag_id, run_id, task_id), json=body)

    def asset_events(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the latest events of assets that a DAG's tasks have emitted, oldest first."""
        wanted = {"source_dag_id": dag_id, "order_by": "timestamp"}
        events: list[dict[str, Any]] = self._request("GET", "assets/events", params=wanted)["asset_events"]
        return events

    def _question_path(self, dag_id: str, run_id: str, task_id: str) -> str:
        return f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"

    # Inside

    def _start_servers(self, stack: ExitStack) -> None:
        """Start what the components need; ``stack`` ends it. SQLite needs nothing."""

    def _prepare(self, mark: str) -> None:
        end_carriers("AIRFLOW_HOME", str(self.home))  # what a killed caller could not end
        if self.home.exists() and any(self.home.iterdir()) and not (self.home / "components").exists():
            raise AirflowError(f"{self.home} holds something else: give a folder that may be emptied.")
        shutil.rmtree(self.home, ignore_errors=True)
        (self.home / "components").mkdir(parents=True)
        INSTALLED.configure(self.home)
        self._port = free_port()
        self._env = self._environment(mark)
        self._http = httpx.Client(base_url=f"{self.url}/{INSTALLED.api}", timeout=30, trust_env=False)

    def _environment(self, mark: str) -> dict[str, str]:
        foreign = ("AIRFLOW", "_AIRFLOW", "AWS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            **SETTINGS,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            MARK: mark,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            **INSTALLED.environment(self.url),
            **self._extra_env,
        }

    def wait_until_healthy(self) -> None:
        """Wait until all components say that they are well.

        :raises AirflowError: one has ended, or they took too long.
        """
        deadline = time.monotonic() + self._patience
        awaited = set(self.components)
        while awaited:
            for component in sorted(awaited & self.healthy()):
                self._on_progress(f"Airflow: {component} is up")
                awaited.remove(component)
            for component in awaited:
                self._check_alive(component)
            if time.monotonic() > deadline:
                tails = "\n".join(self._tail(component) for component in sorted(awaited))
                raise AirflowError(f"Not healthy after {self._patience:.0f} s: {sorted(awaited)}\n{tails}")
            time.sleep(0.25)

    def healthy(self) -> set[str]:
        """Tell which components say that they are well."""
        try:
            health = self._request("GET", INSTALLED.health)
        except (httpx.TransportError, AirflowError):
            return set()
        names = {"metadatabase": INSTALLED.server, "dag_processor": "dag-processor"}
        return {names.get(name, name) for name, one in health.items() if one["status"] == "healthy"}

    def _check_alive(self, component: str) -> None:
        code = self._processes[component].poll()
        if code is not None:
            raise AirflowError(f"Airflow's {component} ended with code {code}.\n{self._tail(component)}")

    def _reap(self) -> None:
        for process in self._processes.values():
            process.wait()

    def _tail(self, component: str, lines: int = 30) -> str:
        log = self.component_log(component)
        last = log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"The end of {log}:", *(f"    {line}" for line in last)])

    def _request(self, method: str, path: str, **parts: Any) -> Any:
        answer = self._http.request(method, path, headers={"Accept": "application/json"}, **parts)
        if answer.is_error:
            raise AirflowError(f"{method} {answer.url} was answered {answer.status_code}: {answer.text}")
        return answer.json()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/{INSTALLED.api}version", trust_env=False).is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
