"""A fake API gateway and a real S3 server on one machine: ``python -m veo_provider.sandbox``.

It serves the calls of the API over HTTP with their quirks, keeps an account, and returns a real MP4
made from the uploaded image. A DAG, a test or a script runs unchanged except for base URL and key,
and spends nothing. The S3 server starts with the buckets ``images`` (sample photographs) and
``videos`` (empty).

::

    $ python -m veo_provider.sandbox --latency 8
    {"api": "http://127.0.0.1:40123/v1", "s3": "http://127.0.0.1:20456", "api_key": "sk-...", ...}

That line on stdout means that everything is ready. Logs go to stderr. SIGTERM or Ctrl-C ends the
sandbox with exit code 0 and leaves no process behind. Options:

=================== ==============================================================================
``--host``          address to listen on; default 127.0.0.1
``--port``          port of the API; default 0, a free one
``--s3-port``       port of S3; default 0, a free one
``--no-s3``         the API alone (the ready line has ``null`` for S3 and its keys)
``--data``          directory for images, videos, S3 and keys, kept; default a temporary one, removed
``--latency``       average seconds from a submission to its completion; default 8
``--latency-sigma`` their spread, log-normal: :mod:`veo_provider.sandbox.latency`; default 0, none
``--latency-seed``  seed of that spread; default 0
``--content-delay`` seconds after completion during which content calls still get 400; default 3
``--film``          ``picture``: a video of each image; ``small``: the same small one for all
``--gateway``       the one to play: ``apiyi`` (default), ``openai``, ``litellm``, ``openrouter``, ``inworld``
``--faults``        JSON file with fault rules: :mod:`veo_provider.sandbox.faults`
``--api-key``       default: the environment variable ``VEO_SANDBOX_API_KEY``, or a random key
``--balance``       US dollars on the account at the start; default 100
``--stop-on-eof``   also stop when standard input closes (for a parent that may be killed)
=================== ==============================================================================

Besides the API of the default gateway (``POST /v1/videos``, ``GET /v1/videos/{id}``,
``GET /v1/videos/{id}/content``, ``GET /api/user/self``, ``GET /api/task/self``, ``GET /api/log/self``) or of
another one (:mod:`veo_provider.sandbox.faces`) there are endpoints about the sandbox itself, without a key:

============================ ====================================================================
``GET /_sandbox/charges``    completed videos and their cost: ``{"count", "usd", "tasks": [...]}``
``GET /_sandbox/tasks``      each accepted submission with its fields and files;
                             ``?after=2000&limit=1000`` skips the first 2000 and returns 1000
``GET /_sandbox/summary``    totals: ``{"count", "usd", "accepted", "statuses", ...}``
``GET /_sandbox/latency``    the current ``{"mean", "sigma", "seed"}``
``POST /_sandbox/latency``   changes it for later submissions
``GET /_sandbox/faults``     the active rules, and how often each one matched
``POST /_sandbox/faults``    adds a rule or a list of rules
``DELETE /_sandbox/faults``  removes all rules
``POST /_sandbox/reset``     the state of a fresh start: no tasks, initial balance, latency and rules
============================ ====================================================================

In Python, :class:`~veo_provider.sandbox.process.Sandbox` runs all of this as a child process::

    from veo_provider.sandbox import Sandbox

    with Sandbox(latency=0.5) as sandbox:
        os.environ["AIRFLOW_CONN_VEO_DEFAULT"] = sandbox.veo_conn()
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = sandbox.aws_conn()
        ...
        assert sandbox.charges()["count"] == 1

Install its dependencies with ``pip install "airflow-provider-veo[sandbox]"``. Nothing here imports
the provider's own client, so that neither side can copy a mistake of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Sandbox", "SandboxError"]

if TYPE_CHECKING:
    from veo_provider.sandbox.process import Sandbox, SandboxError
else:

    def __getattr__(name: str) -> object:
        """Import the public names when they are first used: the server itself needs neither."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from veo_provider.sandbox import process

        return getattr(process, name)
