"""One row of the summary: what became of an image, its cost, and where its video is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.batch.checkpoint import known_fields
from veo_provider.batch.outcome import Outcome, outcome_of_receipt
from veo_provider.receipts.charges import charges_of, told_charges
from veo_provider.receipts.receipt import ReceiptState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.batch.manifest import ManifestItem
    from veo_provider.receipts.receipt import Receipt


@dataclass(frozen=True)
class SummaryRow:
    """One image of a manifest in the summary.

    :param key: unique in the summary: the image's S3 key, or the output of an image in a list, see
        :class:`~veo_provider.batch.manifest.ManifestItem`.
    :param image: the image's URI or path.
    :param output: where its video is or would be stored.
    :param outcome: one of :class:`~veo_provider.batch.outcome.Outcome`.
    :param reason: why there is no video; empty if there is one.
    :param cost_usd: what the run pays for it: the price of each of its submissions that was accepted and did
        not fail.
    :param unknown_usd: what the run may be charged in addition, for its submissions of unknown fate.
    :param told_usd: what the gateway says that the run pays for it; None if it does not say.
    :param price_usd: the price of the last generation; None if it is unknown or there is no receipt.
    :param gateway: the gateway's name; empty if there is no receipt.
    :param paid_by: the task instance that submitted last, and pays unless that failed; else empty.
    :param veo_task_id: the API's task id, if there is one.
    :param generations: how many submissions of the request were accepted.
    :param changed_at: when its receipt was last changed, in ISO 8601.
    :param bytes: size of the video.
    :param sha256: hex digest of the video.
    :param duration_seconds: length of the video.
    :param width: pixels.
    :param height: pixels.
    """

    key: str
    image: str
    output: str
    outcome: Outcome
    reason: str = ""
    cost_usd: float = 0.0
    unknown_usd: float = 0.0
    told_usd: float | None = None
    price_usd: float | None = None
    gateway: str = ""
    paid_by: str = ""
    veo_task_id: str | None = None
    generations: int = 0
    changed_at: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None

    @classmethod
    def for_item(
        cls,
        item: ManifestItem,
        receipt: Receipt | None,
        run: str,
        *,
        outcome: Outcome | None = None,
        reason: str = "",
    ) -> SummaryRow:
        """Return the row of an item.

        :param receipt: the item's receipt; None if there is none.
        :param run: the task instance whose summary it is, see
            :class:`~veo_provider.receipts.attempt.Attempt`.
        :param outcome: what became of it; None to read that from the receipt.
        :param reason: the reason for that outcome.
        """
        if outcome is None:
            outcome, reason = _outcome(item, receipt, run)
        # A service's message may contain a lone surrogate, which UTF-8 cannot encode.
        reason = reason.encode("utf-8", "replace").decode()
        if receipt is None:
            return cls(item.key, item.image, item.output, outcome, reason)
        video = receipt.video if receipt.state is ReceiptState.STORED and receipt.video else {}
        paid = charges_of(receipt, run)
        return cls(
            key=item.key,
            image=item.image,
            output=item.output,
            outcome=outcome,
            reason=reason,
            cost_usd=paid.charged,
            unknown_usd=paid.unknown,
            told_usd=told_charges(receipt, run),
            price_usd=receipt.price_usd,
            gateway=receipt.gateway,
            paid_by=receipt.claimant,
            veo_task_id=receipt.veo_task_id,
            generations=receipt.generations,
            changed_at=receipt.history[-1].get("at") if receipt.history else None,
            **{name: video.get(name) for name in ("bytes", "sha256", "duration_seconds", "width", "height")},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the row as a dict by column."""
        return {**vars(self), "outcome": self.outcome.value}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SummaryRow:
        """Read what :meth:`to_dict` returned, in this release or another one."""
        return cls(**{**known_fields(cls, data), "outcome": Outcome(data["outcome"])})


def _outcome(item: ManifestItem, receipt: Receipt | None, run: str) -> tuple[Outcome, str]:
    """Return what became of an item, by its name and its receipt, and the reason."""
    if item.outcome is not None:
        return item.outcome, item.reason
    if receipt is None:
        return Outcome.NOT_STARTED, ""
    return outcome_of_receipt(receipt, run)
