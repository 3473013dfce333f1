"""A real LiteLLM proxy as a child process, between the provider and the sandbox."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import requests
from support.moments import until

ROOT = Path(__file__).parents[2]
COMMAND = ROOT / ".venv-gateways" / "bin" / "litellm"
KEY = "sk-of-the-proxy"
CHEAP, DEAR = "veo-3.1-fast-generate-001", "veo-3.1-generate-001"
"""Models of the sandbox, which cost 0.10 and 0.40 USD a second."""
TOLD_PER_SECOND = 0.20
"""What the proxy believes that a second costs, which is not what its upstream charges."""
MODELS = {
    "veo": {"usd_per_second": 0.10, "default_seconds": 4},
    "veo-with-fallback": {"usd_per_second": 0.10, "default_seconds": 4},
    "veo-dear": {"usd_per_second": 0.40, "default_seconds": 4},
}
"""What a connection says about the models of the proxy's configuration."""


@contextlib.contextmanager
def running(upstream, directory):
    """Run the proxy with its default settings in front of a sandbox, and yield its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "config.yaml").write_text(json.dumps(_config(upstream)))
    log = directory / "proxy.log"
    command = [COMMAND, "--config", directory / "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    # Its own environment: nothing of Airflow's, and no answer from the network about versions or prices.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _is_up(url, process, log))
        yield f"{url}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def connection(url, gateway="litellm", key=KEY):
    """Return an Airflow connection to the proxy."""
    extra = {"gateway": gateway, "models": MODELS}
    return json.dumps({"conn_type": "veo", "host": url, "password": key, "extra": extra})


def _config(upstream):
    names = {"veo": CHEAP, "veo-with-fallback": CHEAP, "veo-dear": DEAR}
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": upstream.api,
                    "api_key": upstream.api_key,
                },
                "model_info": {"output_cost_per_second": TOLD_PER_SECOND},
            }
            for name, model in names.items()
        ],
        "router_settings": {"fallbacks": [{"veo-with-fallback": ["veo-dear"]}]},
        "general_settings": {"master_key": KEY},
    }


def _is_up(url, process, log):
    assert process.poll() is None, log.read_text(errors="replace")
    try:
        return requests.get(f"{url}/health/liveliness", timeout=5).ok
    except requests.RequestException:
        return False
