"""Under which terms a batch goes its way: for whom, how many at once, and for how much."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Under which terms a batch goes its way.

    :param run: the task instance, which pays; see :class:`~veo_provider.receipts.receipt.Attempt`.
    :param veo_conn_id: connection of type ``veo``.
    :param output_prefix: where the videos go, ``s3://bucket/prefix/``.
    :param price_usd: what one video costs; 0 where that is not known and there is no ceiling.
    :param max_in_flight: generations under way at once, at most.
    :param max_cost_usd: what the run may be charged at most; None for no ceiling.
    :param poll_interval: seconds between two looks at a generation; None for the learned schedule.
    :param timeout: seconds from a submission after which its video is not waited for any more.
    """

    run: str
    output_prefix: str
    price_usd: float
    veo_conn_id: str = "veo_default"
    max_in_flight: int = 10
    max_cost_usd: float | None = None
    poll_interval: float | None = None
    timeout: float = 2 * 60 * 60
