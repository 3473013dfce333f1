"""What a batch is asked to do, as JSON in its trigger, and how its engine is tuned."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from veo_provider.batch.checkpoint import known_fields
from veo_provider.concurrency import circuit_breaker, concurrency_limiter
from veo_provider.concurrency.executors import IO_THREADS, TRANSFER_THREADS
from veo_provider.generation.state_machine import CLAIM_POLL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True)
class BatchSpec:
    """What a batch is asked to do. It holds no secret, only the names of connections.

    :param run: the task instance, which pays; see :class:`~veo_provider.receipts.attempt.Attempt`.
    :param try_number: Airflow's number of the try.
    :param images: a prefix, a pattern or a list, see :func:`~veo_provider.batch.manifest.open_manifest`.
    :param output_prefix: where the videos are stored, ``s3://bucket/prefix/``.
    :param prompt: a template, a mapping, or None for sidecars, see
        :func:`~veo_provider.batch.prompts.prompts_of`.
    :param prompt_suffix: the suffix of a sidecar's name.
    :param fields: further fields of each request: model, seconds, resolution and so on.
    :param price_usd: the price of one video; 0 if it is unknown and there is no ceiling.
    :param veo_conn_id: connection of type ``veo``.
    :param aws_conn_id: connection for S3.
    :param policy: what to do where a receipt leaves a choice: the fields of
        :class:`~veo_provider.generation.state_machine.GenerationPolicy`.
    :param convert: convert images that the API does not take.
    :param fit: choose the aspect ratio by the image.
    :param unconditional: go on if the receipts' store ignores conditional writes.
    :param s3_extra_args: options of every object that is written.
    :param max_in_flight: maximum number of generations in flight.
    :param max_cost_usd: maximum that the run may be charged; None for no ceiling.
    :param poll_interval: seconds between two polls of a generation; None for the learned schedule.
    :param timeout: seconds from a submission after which the run stops waiting for its video.
    :param fallbacks: the routes after the first one, each with its ``veo_conn_id`` and those ``fields`` that
        differ.
    :param fallback_on_moderation: whether the next route is also asked after moderation has refused.
    """

    run: str
    try_number: int
    images: str | list[str]
    output_prefix: str
    prompt: str | dict[str, str] | None
    prompt_suffix: str | None
    fields: dict[str, Any]
    price_usd: float
    veo_conn_id: str = "veo_default"
    aws_conn_id: str | None = "aws_default"
    policy: dict[str, Any] = field(default_factory=dict)
    convert: bool = False
    fit: bool = False
    unconditional: bool = False
    s3_extra_args: dict[str, str | bool] | None = None
    max_in_flight: int = 10
    max_cost_usd: float | None = None
    poll_interval: float | None = None
    timeout: float = 2 * 60 * 60
    fallbacks: list[dict[str, Any]] = field(default_factory=list)
    fallback_on_moderation: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the spec in a form that JSON can carry."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned, in this release or an earlier one."""
        return cls(**known_fields(cls, data))

    @property
    def conn_ids(self) -> list[str]:
        """The connection of each route."""
        return [self.veo_conn_id, *(each["veo_conn_id"] for each in self.fallbacks)]

    @property
    def fields_by_route(self) -> list[dict[str, Any]]:
        """The further fields of the requests of each route."""
        return [self.fields, *({**self.fields, **each["fields"]} for each in self.fallbacks)]

    @property
    def request_digest(self) -> str:
        """A digest of everything that is asked for, the same in every try."""
        asked = json.dumps({**self.to_dict(), "try_number": None}, sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()[:16]

    def difference(self, other: BatchSpec) -> list[str]:
        """Return the names of the fields in which another spec asks for something else."""
        mine, others = self.to_dict(), {**other.to_dict(), "try_number": self.try_number}
        return sorted(name for name, value in mine.items() if value != others[name])


@dataclass(frozen=True, kw_only=True)
class BatchTuning:
    """How the engine of a batch is tuned: sizes, pauses and patience. All times are in seconds.

    :param store_batch_size: completed videos for which a worker is worth launching.
    :param look_ahead_seconds: a worker stays if ``store_batch_size`` completions are expected in this time.
    :param max_open_keys: maximum number of keys from the oldest unfinished item to the newest started one.
    :param outage_patience: time without any success after which the batch ends its try.
    :param list_pause: pause before a manifest or its orphans are listed again after an error.
    :param claim_pause: pause between two reads of a receipt that another attempt has claimed.
    :param look_up_pause: pause before a lost submission is looked up again.
    :param max_attempts: attempts at an item that fail for a retryable reason while other items succeed.
    :param max_attempts_when_alone: the same while no other item succeeds; about seven minutes.
    :param recent_success: time without a success after which a failure is not blamed on its item.
    :param longest_retry_pause: longest pause between two attempts at an item.
    :param check_patience: how long the free check of the service may wait for its permit.
    :param breaker_shortest_pause: pause of the circuit breaker after it has opened.
    :param breaker_longest_pause: longest pause of the circuit breaker.
    :param breaker_patience: time from the first failure after which the circuit breaker gives up.
    :param limiter_shortest_pause: pause of the concurrency limiter after a refusal.
    :param limiter_longest_pause: longest pause of the concurrency limiter.
    :param report_interval: time between two progress reports.
    :param balance_interval: time between two checks of the account's balance.
    :param max_cache_age: age up to which cached rows of a crashed try are used. The writer's clock may be
        wrong, so they must look younger than this by the clock difference that is allowed for.
    :param max_cached_rows: maximum number of cached rows in memory, about a kilobyte each.
    :param route_pause: time for which no image asks a route that refused one as it would refuse all.
    :param connection_attempts: attempts to read a connection while Airflow is unavailable.
    :param io_threads: threads for receipts, images and submissions.
    :param transfer_threads: threads for transfers into S3, with up to 15 MB each.
    """

    store_batch_size: int = 50
    look_ahead_seconds: float = 30.0
    max_open_keys: int = 5_000
    outage_patience: float = 900.0
    list_pause: float = 15.0
    claim_pause: float = CLAIM_POLL_SECONDS
    look_up_pause: float = 30.0
    max_attempts: int = 6
    max_attempts_when_alone: int = 12
    recent_success: float = 30.0
    longest_retry_pause: float = 60.0
    check_patience: float = 60.0
    breaker_shortest_pause: float = circuit_breaker.SHORTEST_PAUSE
    breaker_longest_pause: float = circuit_breaker.LONGEST_PAUSE
    breaker_patience: float = circuit_breaker.PATIENCE
    limiter_shortest_pause: float = concurrency_limiter.SHORTEST_PAUSE
    limiter_longest_pause: float = concurrency_limiter.LONGEST_PAUSE
    report_interval: float = 10.0
    balance_interval: float = 180.0
    max_cache_age: float = 900.0
    max_cached_rows: int = 2_000
    route_pause: float = 600.0
    connection_attempts: int = 40
    io_threads: int = IO_THREADS
    transfer_threads: int = TRANSFER_THREADS

    @property
    def s3_connections(self) -> int:
        """Connections to S3: each transfer has two more threads, which send its parts."""
        return self.io_threads + 3 * self.transfer_threads
