"""
What importing a module of ours costs each parse of a DAG file, beyond Airflow itself.

Airflow parses every DAG file twice a minute, in a process of its own that already has Airflow's SDK.
So each contestant is imported by a fresh interpreter after ``airflow.sdk``, and the CPU time of the process
is read before and after; the bytecode of everything was compiled by a first run that does not count.
The package ``veo_provider`` itself is no contestant: Airflow has loaded it before, as every provider's.
"""

import os
import subprocess
import sys
from math import isnan

from benchmarks.figures import Figure, Series, show

GOAL = 40.0
ROUNDS = 5

RIVALS = {
    "veo_provider.operators.veo": (
        "airflow.providers.http.operators.http",
        "airflow.providers.openai.operators.openai",
        "airflow.providers.dbt.cloud.operators.dbt",
        "airflow.providers.databricks.operators.databricks",
    ),
    "veo_provider.operators.batch": ("airflow.providers.amazon.aws.operators.batch",),
    "veo_provider.sensors.veo": (
        "airflow.providers.http.sensors.http",
        "airflow.providers.amazon.aws.sensors.s3",
        "airflow.providers.dbt.cloud.sensors.dbt",
        "airflow.providers.databricks.sensors.databricks",
    ),
    "veo_provider.transfers.veo_to_s3": ("airflow.providers.amazon.aws.transfers.http_to_s3",),
    "veo_provider.triggers.veo": (
        "airflow.providers.http.triggers.http",
        "airflow.providers.dbt.cloud.triggers.dbt",
        "airflow.providers.databricks.triggers.databricks",
    ),
    "veo_provider.triggers.batch": ("airflow.providers.amazon.aws.triggers.batch",),
    "veo_provider.hooks.veo": (
        "airflow.providers.http.hooks.http",
        "airflow.providers.openai.hooks.openai",
    ),
}
"""Each public module of ours, and those of other providers that do a like job."""

IMPORT = """
import time
import airflow.sdk
before = time.process_time()
try:
    import {module}
except ModuleNotFoundError as error:
    if not "{module}".startswith(error.name):
        raise
    print("nan")
else:
    print((time.process_time() - before) * 1000)
"""


def measure() -> list[Figure]:
    """Import every module in turn, round by round, each in an interpreter of its own."""
    modules = [module for ours, rivals in RIVALS.items() for module in (ours, *rivals)]
    installed = [module for module in modules if not isnan(_import(module))]
    rounds = [{module: _import(module) for module in installed} for _ in range(ROUNDS)]
    values = {module: tuple(one[module] for one in rounds) for module in installed}
    return [
        Figure(
            name=f"import-{'-'.join(ours.split('.')[1:])}",
            title=f"CPU time of importing {ours}",
            unit="ms",
            ours=ours,
            against="",
            goal=GOAL,
            series=tuple(Series(module, values.get(module, ())) for module in (ours, *rivals)),
            note="After airflow.sdk, in a fresh interpreter without options, bytecode compiled.",
        )
        for ours, rivals in RIVALS.items()
    ]


def _import(module: str) -> float:
    """Give the milliseconds of CPU that importing a module takes; not a number where it is not installed."""
    command = [sys.executable, "-c", IMPORT.format(module=module)]
    # Else nobody's bytecode would be kept, and the larger contestant be compiled in each round.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    # Airflow may have logged to standard output before.
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    show(measure())
