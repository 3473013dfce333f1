"""What kills a real Airflow's processes, and an Airflow that finds out about it soon."""

import re

import psutil

FAST_RECOVERY = {
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}
"""Airflow finds out about a dead process in seconds instead of minutes."""
_TASK = re.compile(r"airflow worker -- [0-9a-f]{8}-")
"""What Airflow calls the process of a running task."""


def running_tasks(airflow):
    """Find the processes that run a task at this moment."""
    scheduler = psutil.Process(airflow.pid("scheduler"))
    return [one for one in scheduler.children(recursive=True) if _TASK.match(" ".join(one.cmdline()))]


def kill_and_restart(airflow, component):
    """Kill a component with all that it started, the running tasks included, and start it again."""
    airflow.kill(component)
    airflow.start(component)
