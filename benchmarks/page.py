"""How long the page in Airflow's UI takes for 10,000 videos in 30 days, and what it asks database and S3."""

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import Figure, Series, show

VIDEOS = 10_000
DAYS = 30
DAGS = 10
ROUNDS = 7
OURS = "the page"


def measure() -> list[Figure]:
    """Ask for the page's data again and again, of an Airflow with 10,000 rows in SQLite."""
    with TemporaryDirectory() as home:
        env = {
            **os.environ,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__SECRET_KEY": "benchmark",
            "AIRFLOW__API_AUTH__JWT_SECRET": "benchmark" * 8,
            "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(
                {"conn_type": "aws", "extra": {"region_name": "us-east-1"}}
            ),
            "_AIRFLOW__AS_LIBRARY": "",
        }
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        command = [sys.executable, "-m", "benchmarks.page", "ask"]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    asked = json.loads(done.stdout.splitlines()[-1])
    note = (
        f"Each of {VIDEOS:,} videos has a row as an XCom, in {DAGS} DAGs on {DAYS} days; the answer has the "
    )
    note += "figures, the spend and the first 48 videos. Airflow's API server answers in the same process."
    one = {"ours": OURS, "against": "", "note": note}
    return [
        Figure(
            name="page-10000-videos",
            title=f"Time to answer the page for {VIDEOS:,} videos in {DAYS} days",
            unit="s",
            goal=1.0,
            series=(Series(OURS, tuple(asked["seconds"])),),
            **one,
        ),
        Figure(
            name="page-queries",
            title="Database queries of that answer, with Airflow's own for the user's rights",
            unit="queries",
            goal=5.0,
            series=(Series(OURS, tuple(asked["queries"])),),
            **one,
        ),
        Figure(
            name="page-s3-requests",
            title="Requests to S3 of that answer",
            unit="requests",
            goal=0.0,
            series=(Series(OURS, tuple(asked["requests"])),),
            **one,
        ),
    ]


def _fill() -> None:
    """Write the rows, with the DAGs, runs and task instances that they belong to."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import insert, select
    from uuid6 import uuid7

    now = datetime.now(timezone.utc)
    tables: Any = (DagBundleModel, DagModel, DagRun, TaskInstance, XComModel)
    bundle, dags, runs, tasks, xcoms = (one.__table__ for one in tables)
    per_dag = VIDEOS // DAGS
    with create_session() as session:
        session.execute(insert(bundle).values(name="b"))
        for number in range(DAGS):
            dag_id = f"dag_{number}"
            session.execute(insert(dags).values(**_complete(dags, {"dag_id": dag_id, "bundle_name": "b"})))
            run = {
                "dag_id": dag_id,
                "run_id": "run",
                "run_type": "manual",
                "run_after": now,
                "state": "success",
            }
            session.execute(insert(runs).values(**_complete(runs, run)))
            run_key = session.scalar(select(runs.c.id).where(runs.c.dag_id == dag_id))
            task: dict[str, Any] = {"dag_id": dag_id, "run_id": "run", "task_id": "make", "state": "success"}
            task |= {"pool": "default_pool", "pool_slots": 1, "try_number": 1, "max_tries": 1}
            task = _complete(tasks, task)
            many = [{**task, "id": _id_for(tasks, uuid7()), "map_index": index} for index in range(per_dag)]
            session.execute(insert(tasks), many)
            own = {"dag_run_id": run_key, "dag_id": dag_id, "run_id": "run", "task_id": "make", "key": "veo"}
            session.execute(
                insert(xcoms),
                [
                    {
                        **own,
                        "map_index": index,
                        "value": _row(number, index),
                        "timestamp": now - timedelta(days=DAYS - 1) * index / per_dag,
                    }
                    for index in range(per_dag)
                ],
            )


def _complete(table: Any, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with a value in each column that needs one, whatever this Airflow has there."""
    needed = (one for one in table.c if not one.nullable and one.default is None and not one.primary_key)
    empty = {
        one.name: one.type.python_type() for one in needed if one.name not in row and not one.server_default
    }
    return {**empty, **row}


def _id_for(table: Any, made: Any) -> Any:
    return str(made) if table.c.id.type.python_type is str else made


def _row(number: int, index: int) -> dict[str, Any]:
    """Return a row as the operators leave it."""
    output = f"s3://videos/archive/{number}/{index}.mp4"
    return {
        "version": 1,
        "state": "unknown" if index % 200 == 0 else "stored",
        "image": f"s3://images/archive/{number}/{index}.jpg",
        "prompt": f"Slow zoom into picture {index}, the sounds of the place, people walk by, a bell rings",
        "model": "veo-3.1-fast-generate-preview",
        "account": "veo_default at https://api.apiyi.com/v1",
        "gateway": "apiyi",
        "seconds": "8",
        "price_usd": 0.3,
        "cost_usd": 0.3,
        "unknown_usd": 0.0,
        "receipt": f"{output}.veo.json",
        "veo_task_id": f"task_{number}_{index}",
        "bytes": 981_399,
        "duration_seconds": 8.0,
        "width": 1280,
        "height": 720,
    }


def _ask() -> dict[str, list[float]]:
    """Ask as a browser does; the first answer does not count."""
    from airflow import settings
    from airflow.api_fastapi.app import create_app
    from botocore.client import BaseClient
    from fastapi.testclient import TestClient
    from sqlalchemy import event

    found: dict[str, list[float]] = {"seconds": [], "queries": [], "requests": []}
    asked = {"queries": 0, "requests": 0}
    send = BaseClient._make_api_call  # type: ignore[attr-defined]  # noqa: SLF001  # what every call goes by

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked["requests"] += 1
        return send(*args, **kwargs)

    BaseClient._make_api_call = counted  # type: ignore[attr-defined]  # noqa: SLF001  # as above
    event.listen(
        settings.engine, "before_cursor_execute", lambda *_: asked.update(queries=asked["queries"] + 1)
    )
    with TestClient(create_app()) as client:
        client.headers["Authorization"] = f"Bearer {client.get('/auth/token').json()['access_token']}"
        for number in range(ROUNDS + 1):
            asked.update(queries=0, requests=0)
            began = time.perf_counter()
            answer = client.get("/veo/api/videos", params={"days": DAYS})
            seconds = time.perf_counter() - began
            assert answer.json()["totals"]["videos"] > VIDEOS * 0.99, answer.text[:300]
            if number:
                found["seconds"].append(seconds)
                found["queries"].append(asked["queries"])
                found["requests"].append(asked["requests"])
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["ask"]:
        _fill()
        print(json.dumps(_ask()))
    else:
        show(measure())
