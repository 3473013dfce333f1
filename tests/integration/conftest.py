"""What the integration tests share."""

import asyncio
import time
from dataclasses import replace

import pytest
from support.gateways import SERVED

from veo_provider.api.async_client import AsyncVeoClient
from veo_provider.api.client import VeoClient
from veo_provider.api.image import Image
from veo_provider.api.request import VeoRequest
from veo_provider.polling import unknown_ids
from veo_provider.triggers import veo as triggers


@pytest.fixture(scope="session", autouse=True)
def _one_loader():
    """Let boto3 read its description of S3 once, instead of anew for each client."""
    import botocore.session
    from botocore.loaders import create_loader

    loader = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda *_: loader)
        yield


@pytest.fixture
def request_4s(photo):
    """The shortest video of a real photograph."""
    return VeoRequest(
        prompt="The rocket lifts off", image=Image.from_path(photo), seconds="4", gateway=SERVED
    )


class AsyncInDisguise:
    """Runs the asynchronous client call by call, so that one test proves both clients."""

    def __init__(self, *args, **kwargs):
        self._make = lambda: AsyncVeoClient(*args, **kwargs)

    def __repr__(self):
        return repr(self._make())

    def _call(self, name, *args, **kwargs):
        async def call():
            async with self._make() as client:
                return await getattr(client, name)(*args, **kwargs)

        return asyncio.run(call())

    def submit(self, request, **kwargs):
        return self._call("submit", request, **kwargs)

    def get(self, veo_task_id):
        return self._call("get", veo_task_id)

    def close(self):
        pass


@pytest.fixture(params=[VeoClient, AsyncInDisguise], ids=["requests", "aiohttp"])
def new_client(request):
    """Makes clients of either kind, and closes them in the end."""
    made = []

    def make(*args, **kwargs):
        made.append(request.param(*args, **kwargs))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(sandbox):
    """The blocking client."""
    with VeoClient(sandbox.api_key, sandbox.api, account_token=sandbox.account_token) as made:
        yield made


@pytest.fixture
def queued(client, sandbox, request_4s):
    """The id of a generation that is under way for longer than any of these tests."""
    sandbox.add_faults([{"call": "poll", "task_status": "in_progress"}])
    return client.submit(request_4s).id


@pytest.fixture
def at_once(monkeypatch):
    """Let a trigger send its event at once: no scheduler is about here."""
    monkeypatch.setattr(triggers, "FIRST_EVENT_SECONDS", 0.0)


@pytest.fixture
def completed(client, request_4s):
    """The task id of a completed generation."""
    video = client.submit(request_4s)
    while not client.get(video.id).finished:
        time.sleep(0.1)
    return video.id


@pytest.fixture
def tune(monkeypatch):
    """Changes the tuning of every segment of a batch, on a worker and in a trigger."""
    from veo_provider.batch import segment

    def tune(**changes):
        monkeypatch.setattr(segment, "DEFAULT_TUNING", replace(segment.DEFAULT_TUNING, **changes))

    return tune


@pytest.fixture
def impatient(monkeypatch):
    """No pauses between attempts, boto3's own among them: a test of retries is about their number."""
    import tenacity
    from botocore import retryhandler
    from botocore.retries.standard import ExponentialBackoff

    from veo_provider.generation import retries

    monkeypatch.setattr(retries, "CONTENT_NOT_READY_WAIT", 0.0)
    monkeypatch.setattr(retries, "_backoff", tenacity.wait_none())
    monkeypatch.setattr(tenacity, "wait_exponential", lambda **_: tenacity.wait_none())
    monkeypatch.setattr(retryhandler, "delay_exponential", lambda *_, **__: 0.0)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)


@pytest.fixture
def no_pause(monkeypatch):
    """Notes the pauses of a wait for an id to be known, and leaves them out."""
    pauses = []
    monkeypatch.setattr(unknown_ids.time, "sleep", pauses.append)
    return pauses
