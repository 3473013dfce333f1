"""
A stand-in for the video API and for S3, to run on one machine: ``python -m veo_provider.sandbox``.

It serves the three calls of the API over HTTP with their quirks, keeps a bill, and returns a real
MP4 made from the uploaded picture, so that a DAG, a test or a script runs unchanged but for base URL
and key, and costs nothing. Beside it runs a real S3 server with the buckets ``images`` (sample
photographs) and ``videos`` (empty).

::

    $ python -m veo_provider.sandbox --latency 8
    {"api": "http://127.0.0.1:40123/v1", "s3": "http://127.0.0.1:20456", "api_key": "sk-...", ...}

That one line on stdout says that everything is ready; logs go to stderr; SIGTERM or Ctrl-C ends it
with exit code 0 and leaves no process behind. Options:

=================== ==============================================================================
``--host``          address to listen on; default 127.0.0.1
``--port``          port of the API; default 0, a free one
``--s3-port``       port of S3; default 0, a free one
``--no-s3``         the API alone (the ready line says ``null`` for S3 and its keys)
``--data``          directory for pictures, videos, S3 and keys, kept; default a temporary one, removed
``--latency``       seconds from a submission to its completion, on average; default 8
``--latency-sigma`` how they scatter, log-normal: :mod:`veo_provider.sandbox.latency`; default 0, not at all
``--latency-seed``  another one scatters them in another way; default 0
``--content-delay`` seconds after completion in which the content still answers 400; default 3
``--film``          ``picture``: a video of each picture; ``small``: one small one for all; default picture
``--faults``        JSON file of rules, what goes wrong and when: :mod:`veo_provider.sandbox.faults`
``--api-key``       default: the environment's ``VEO_SANDBOX_API_KEY``, or a random key
``--balance``       US dollars on the account at the start; default 100
``--stop-on-eof``   also stop when standard input closes (for a parent that may be killed)
=================== ==============================================================================

Besides the API (``POST /v1/videos``, ``GET /v1/videos/{id}``, ``GET /v1/videos/{id}/content``,
``GET /api/user/self``) there are calls about the sandbox itself; they need no key:

============================ ====================================================================
``GET /_sandbox/charges``    the bill: ``{"count", "usd", "tasks": [...]}``, completed videos only
``GET /_sandbox/tasks``      each accepted submission, with the fields and the files it carried;
                             ``?after=2000&limit=1000`` leaves out the first 2000 and tells 1000
``GET /_sandbox/summary``    the same in numbers: ``{"count", "usd", "accepted", "statuses", ...}``
``GET /_sandbox/latency``    ``{"mean", "sigma", "seed"}`` in force
``POST /_sandbox/latency``   changes it for later submissions
``GET /_sandbox/faults``     the rules in force, and how often each one matched
``POST /_sandbox/faults``    adds a rule or a list of rules
``DELETE /_sandbox/faults``  removes all rules
``POST /_sandbox/reset``     as freshly started: no tasks, full balance, the latency and rules of the start
============================ ====================================================================

In Python, :class:`veo_provider.sandbox.process.Sandbox` runs all of this as a child process::

    with Sandbox(latency=0.5) as sandbox:
        os.environ["AIRFLOW_CONN_VEO_DEFAULT"] = sandbox.veo_conn()
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = sandbox.aws_conn()
        ...
        assert sandbox.charges()["count"] == 1

Install its dependencies with ``pip install "airflow-provider-veo[sandbox]"``. Nothing here imports
the provider's own client, so that neither side can copy the other's mistake.
"""
