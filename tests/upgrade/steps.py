"""What a worker does, in whichever release it has: ``python steps.py STEP`` prints what came of it as JSON.

Nothing here is newer than release 0.1.0.
"""

import json
import sys

from airflow.providers.common.compat.sdk import TaskDeferred

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.sensors.veo import VeoTaskSensor

REQUEST = {"image": "s3://images/rocket.jpg", "seconds": "4", "poll_interval": 0.2}


class Instance:
    """A task instance, as far as the operators ask."""

    dag_id, map_index = "clips", -1

    def __init__(self, task_id, run_id="monday", try_number=1):
        self.task_id, self.run_id, self.try_number = task_id, run_id, try_number

    def xcom_push(self, key, value):
        """Keep nothing."""


def video(name, **fields):
    """Return the operator of one video."""
    fields = {"prompt": f"The {name} lifts off", **REQUEST, **fields}
    return VeoImageToVideoOperator(task_id=name, output=f"s3://videos/clips/{name}.mp4", **fields)


def archive():
    """Return the operator of a batch."""
    return VeoBatchOperator(
        task_id="archive",
        images="s3://images/",
        prompt="$stem comes alive",
        output_prefix="s3://videos/archive/",
        seconds="4",
        poll_interval=0.2,
    )


def sensor(veo_task_id):
    """Return the operator that waits for a generation."""
    return VeoTaskSensor(task_id="wait", veo_task_id=veo_task_id, poll_interval=0.2)


TASKS = {
    "video": lambda: video("deferred"),
    "archive": archive,
    "stored": lambda: video("stored", deferrable=False),
    "lost": lambda: video("lost", deferrable=False),
    "newer": lambda: video("newer", deferrable=False),
}


def run(task, name, **instance):
    """Run a task until it defers or ends, and return what came of it."""
    try:
        return {"value": task.execute({"ti": Instance(name, **instance)})}
    except TaskDeferred as deferral:
        return {"trigger": deferral.trigger.serialize(), "method": deferral.method_name}
    except Exception as error:  # noqa: BLE001 - an error is what came of it
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    step, *rest = sys.argv[1:]
    task = sensor(rest[0]) if step == "wait" else TASKS[step]()
    print("\n" + json.dumps(run(task, step)))
