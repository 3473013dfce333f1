"""Workers and triggerers for the crash tests: forked as Airflow forks them, and killed at a named moment.

Reads one command a line on its standard input and answers each with one line of JSON:

- ``{"run": {…}}`` forks a process for a job (see :class:`Job`) and answers its ``pid``;
- ``{"wait": pid}`` answers how that process ended: ``exited``, ``killed`` or ``stopped``.
"""

import asyncio
import contextlib
import faulthandler
import functools
import json
import logging
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

PATIENCE_SECONDS = 300
"""The longest that one process may take, so that a hanging one ends and shows where it hangs."""


@dataclass
class Job:
    """What one process does, and the moment in which it dies."""

    stage: str
    """``execute`` and ``resume`` are a worker's, ``wait`` is a triggerer's."""
    result: str
    """File for what came of it; without it, the process was killed."""
    log: str
    """File for everything that it says."""
    operator: dict = field(default_factory=dict)
    ti: dict = field(default_factory=dict)
    trigger: list = field(default_factory=list)
    event: dict | None = None
    env: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)
    """``module:name`` to the value that it is set to: waits that a test need not sit through."""
    moment: str | None = None
    """As ``execute: before submit``; a process that never comes there lives on."""
    signal: int = signal.SIGKILL


class Switch:
    """Sends this process its signal when the moment is there, once."""

    def __init__(self, job):
        self._moment = job.moment
        self._stage = job.stage
        self._signal = job.signal
        self.handled = threading.Event()

    def reach(self, moment):
        """Die here, if this is the moment; in another thread, wait until the main one has handled it."""
        if f"{self._stage}: {moment}" == self._moment:
            self._moment = None
            os.kill(os.getpid(), self._signal)
            if threading.current_thread() is not threading.main_thread() and self._signal == signal.SIGTERM:
                self._wait_until_handled()

    def _wait_until_handled(self):
        """Wake the main thread until it has: a signal that arrives just before it blocks wakes it no more."""
        while not self.handled.wait(0.2):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGURG)

    def wrap(self, owner, name, what):
        """Make the moments before and after each call of a function known by a name.

        :param what: that name, or what tells it from the call's arguments.
        """
        real = getattr(owner, name)

        def named(args):
            return what if isinstance(what, str) else what(*args)

        @functools.wraps(real)
        def call(*args, **kwargs):
            moment = named(args)
            self.reach(f"before {moment}")
            result = real(*args, **kwargs)
            self.reach(f"after {moment}")
            return result

        @functools.wraps(real)
        async def call_async(*args, **kwargs):
            moment = named(args)
            self.reach(f"before {moment}")
            result = await real(*args, **kwargs)
            self.reach(f"after {moment}")
            return result

        setattr(owner, name, call_async if asyncio.iscoroutinefunction(real) else call)


def install(switch):
    """Put the switch at the boundary of each step that leaves something behind."""
    from botocore.client import BaseClient

    from veo_provider.api.async_client import AsyncVeoClient
    from veo_provider.api.body import SubmissionBody
    from veo_provider.api.client import VeoClient
    from veo_provider.operators.veo import VeoImageToVideoOperator

    switch.wrap(BaseClient, "_make_api_call", _s3_step)
    switch.wrap(VeoClient, "submit", "submit")
    switch.wrap(SubmissionBody, "_read_image", _part_of_image)
    switch.wrap(VeoImageToVideoOperator, "_defer", "defer")
    switch.wrap(VeoImageToVideoOperator, "execute_complete", "resume")
    switch.wrap(AsyncVeoClient, "get", "poll")


def _s3_step(_client, operation, call):
    """Name a call to S3 by what it means for a video."""
    key = call.get("Key", "")
    if ".probe-" in key:
        return f"{operation} of the probe"
    if operation == "PutObject" and key.endswith(".veo.json"):
        receipt = json.loads(call["Body"])
        if receipt.get("reason") == "not submitted yet" or "state" not in receipt:
            return f"{operation} of the probe"
        return f"record {receipt['state']}"
    return operation


def _part_of_image(body, _size):
    """Name a read of the image by whether it begins before or after its middle."""
    return (
        "second half of the image" if 2 * body._image_remaining < body._length else "first half of the image"
    )


def run(job):
    """Do a job as Airflow's worker or triggerer does, and tell what came of it."""
    for place, value in job.settings.items():
        module, name = place.split(":")
        setattr(import_module(module), name, value)
    switch = Switch(job)
    install(switch)
    return asyncio.run(_wait(job)) if job.stage == "wait" else _work(job, switch)


def _work(job, switch):
    from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

    from veo_provider.operators.veo import VeoImageToVideoOperator

    operator = VeoImageToVideoOperator(**job.operator)

    def terminate(*_):
        """End the task as Airflow's task runner does."""
        operator.on_kill()
        switch.handled.set()

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGURG, lambda *_: None)  # with a handler, it interrupts a lock's wait
    context = {"ti": SimpleNamespace(**job.ti)}
    try:
        if job.stage == "resume":
            value = operator.execute_complete(context, job.event)
        else:
            value = operator.execute(context)
    except TaskDeferred as deferral:
        switch.reach("deferred")
        return {"outcome": "deferred", "trigger": deferral.trigger.serialize()}
    except Exception as error:  # noqa: BLE001 - as Airflow does
        traceback.print_exc()
        outcome = "failed" if isinstance(error, AirflowFailException) else "up for retry"
        return {"outcome": outcome, "error": _names(error), "message": str(error)}
    switch.reach("returned")
    return {"outcome": "success", "value": value}


def _names(error):
    """Return the names of an error and of what it was made from."""
    return [type(error).__name__, *([type(error.__cause__).__name__] if error.__cause__ else [])]


async def _wait(job):
    path, kwargs = job.trigger
    module, _, name = path.rpartition(".")
    trigger = getattr(import_module(module), name)(**kwargs)
    async for event in trigger.run():
        return {"outcome": "event", "event": event.payload}
    return {"outcome": "no event"}


def fork(job):
    """Run a job in a process of its own and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(job.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True)
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
        print(f"--- {job.stage} {job.ti} {job.moment}", file=sys.stderr, flush=True)
        os.environ.update(job.env)
        result = run(job)
        print(result, file=sys.stderr)
        partial = Path(f"{job.result}.part")
        partial.write_text(json.dumps(result))
        partial.rename(job.result)
        code = 0
    except BaseException:  # noqa: BLE001 - a forked child must never return into its parent's code
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def wait(pid):
    """Return how a process ended, or that it was stopped."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return "stopped"
    return (
        f"killed by {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exited {os.WEXITSTATUS(status)}"
    )


def _warm_up():
    """Make a client of each kind once: the first one imports and reads the most."""
    from veo_provider.hooks.veo import VeoHook
    from veo_provider.s3.client import s3_client

    os.environ["AIRFLOW_CONN_NOBODY"] = '{"conn_type": "aws", "login": "x", "password": "x"}'
    s3_client("nobody").close()
    VeoHook("nobody").get_conn().close()


def main():
    """Import once what every process needs, then fork on demand."""
    # Airflow logs to the standard output, which belongs to the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in (
        "airflow.io",
        "airflow.providers.amazon.aws.hooks.s3",
        "airflow.providers.common.compat.connection",
        "boto3",
        "veo_provider.api.async_client",
        "veo_provider.generation.lifecycle",
        "veo_provider.hooks.veo",
        "veo_provider.media.image_source",
        "veo_provider.operators.veo",
        "veo_provider.receipts.s3_store",
        "veo_provider.generation.storage",
        "veo_provider.triggers.veo",
    ):
        import_module(module)
    _warm_up()
    for line in sys.stdin:
        command = json.loads(line)
        answer = fork(Job(**command["run"])) if "run" in command else wait(command["wait"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
