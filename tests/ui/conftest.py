"""A whole Airflow with the page, three users, and videos of two DAGs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import pytest

from demo.airflow import LocalAirflow
from veo_provider.sandbox.process import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
USERS = {"boss": "admin", "guest": "viewer", "settler": "op", "other": "viewer"}
MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script> A rocket'


@dataclass
class Page:
    """The page, its Airflow, and what was made there."""

    airflow: LocalAirflow
    sandbox: Sandbox
    runs: dict[str, str] = field(default_factory=dict)
    """The run of each video, by a name of ours."""

    @property
    def home(self) -> str:
        """Where the page is."""
        return f"{self.airflow.url}/veo"

    def client(self, user: str | None = None) -> httpx.Client:
        """Return a client that is logged in as a user, or as nobody."""
        headers = {"Authorization": f"Bearer {self.airflow.token((user, user))}"} if user else {}
        return httpx.Client(base_url=self.home, headers=headers, trust_env=False, timeout=30)

    def make(
        self, dag_id: str, name: str, prompt: str = "A slow zoom", state: str = "success", **conf: str
    ) -> None:
        """Run a DAG to its end."""
        run_id = self.airflow.trigger(dag_id, conf={"name": name, "prompt": prompt, **conf})
        self.finish(dag_id, run_id, state)
        self.runs[name] = run_id

    def finish(self, dag_id: str, run_id: str, state: str = "success") -> None:
        """Wait for the end of a run."""
        while (found := self.airflow.dag_run(dag_id, run_id)["state"]) not in {"success", "failed"}:
            time.sleep(0.5)
        assert found == state, self.airflow.task_log(dag_id, run_id, "make")

    def s3(self) -> Any:
        """Return a client of the sandbox's S3."""
        return boto3.client(
            "s3",
            endpoint_url=self.sandbox.s3,
            region_name="us-east-1",
            aws_access_key_id=self.sandbox.aws_access_key_id,
            aws_secret_access_key=self.sandbox.aws_secret_access_key,
        )

    def people(self, user: str, **params: Any) -> list[dict[str, Any]]:
        """Return what needs a person, as the page shows it a user."""
        with self.client(user) as client:
            answer = client.get("/api/people", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()["people"]

    def videos(self, user: str, **params: Any) -> dict[str, Any]:
        """Return what the page shows a user."""
        with self.client(user) as client:
            answer = client.get("/api/videos", params=params)
            assert answer.status_code == 200, answer.text
            return answer.json()


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Run an Airflow with videos of a DAG that the guest may see, and of one that only others may."""
    home = tmp_path_factory.mktemp("airflow")
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({user: user for user in USERS}))
    with Sandbox(latency=0.5, data=tmp_path_factory.mktemp("sandbox")) as sandbox:
        env = {
            "AIRFLOW_CONN_VEO_DEFAULT": without_list(sandbox),
            "AIRFLOW_CONN_AWS_DEFAULT": sandbox.aws_conn(),
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.ui.auth_manager.AuthManagerByDag",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(":".join(one) for one in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__VEO__UI_TABS": "True",
            "AIRFLOW__VEO__POSTERS": "True",
            "PYTHONPATH": _python_path(),
        }
        dags = Path(__file__).parent / "dags"
        with LocalAirflow(home / "home", dags, env=env, login=("boss", "boss")) as airflow:
            made = Page(airflow, sandbox)
            for dag_id in ("open_clips", "secret_clips", "secret_archive", "open_archive"):
                airflow.wait_for_dag(dag_id)
            made.make("open_clips", "one", MARKUP)
            made.make("secret_clips", "two")
            # Before anybody has seen it: what a link leads to is kept for a minute.
            made.s3().delete_object(Bucket="videos", Key="secret_clips/two.mp4.veo.jpg")
            made.make("secret_archive", "archive")
            sandbox.add_faults([{"call": "submit", "reset": "after"}])
            made.make("open_clips", "lost", "The lost one", "failed")
            sandbox.clear_faults()
            yield made


def without_list(sandbox: Sandbox) -> str:
    """Return a connection without the token that reads the list of tasks: a lost response needs a person."""
    connection = json.loads(sandbox.veo_conn())
    del connection["extra"]["account_token"]
    return json.dumps(connection)


def _python_path() -> str:
    import os

    return os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
