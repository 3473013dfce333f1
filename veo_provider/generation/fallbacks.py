"""Fallbacks: which routes a video may take, and after which refusal the next one is asked. Pure: no I/O.

A route is a connection and a model. The first one is the task's own, and each of its ``fallbacks`` is another
one. All routes share one output, one receipt and the same ceilings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import (
    VeoModelRetiredError,
    VeoModerationError,
    VeoNoChannelError,
    VeoQuotaError,
)
from veo_provider.generation.fingerprint import account_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from veo_provider.api.client import VeoClient
    from veo_provider.api.gateways.gateway import Gateway
    from veo_provider.exceptions import VeoError
    from veo_provider.receipts.receipt import Receipt

ROUTE_REFUSALS = frozenset({VeoNoChannelError, VeoModelRetiredError, VeoQuotaError})
"""The errors after which the next route is asked: the gateway has no channel for the model, the model has
ended, or the account is empty. After each, the submission was provably not accepted, and the route would
refuse every other image as well."""


def permits_fallback(error: BaseException, *, on_moderation: bool) -> bool:
    """Whether an error of a submission is a refusal after which the next route may be asked.

    A class that is not in the list permits nothing, even if it is derived from one that is.

    :param on_moderation: whether a refusal by moderation is one as well, as the user wishes.
    """
    return type(error) in ROUTE_REFUSALS or (on_moderation and type(error) is VeoModerationError)


@dataclass(frozen=True)
class Route:
    """A connection and a model by which a video can be made.

    :param veo_conn_id: connection of type ``veo``.
    :param model: the model's id, as the connection's gateway spells it.
    :param client: of that connection.
    """

    veo_conn_id: str
    model: str
    client: VeoClient

    def __str__(self) -> str:
        return f"{self.model} with the connection {self.account}"

    @property
    def account(self) -> str:
        """The account's name in receipts."""
        return account_of(self.veo_conn_id, self.client)

    @property
    def gateway(self) -> Gateway:
        """The gateway of the connection."""
        return self.client.gateway


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a route does not make a video.

    :param account: of the route, as receipts name it.
    :param model: of the route.
    :param reason: one sentence.
    :param retryable: whether the route may accept the same request later.
    :param asked: whether it was asked for this very video, and its answer is in the receipt.
    """

    account: str
    model: str
    reason: str
    retryable: bool
    asked: bool

    @classmethod
    def of(cls, route: Route, error: VeoError, *, asked: bool) -> Self:
        """Return the refusal that an error of a route is."""
        return cls(
            account=route.account,
            model=route.model,
            reason=error.what,
            retryable=error.retryable,
            asked=asked,
        )

    def __str__(self) -> str:
        return f"{self.model} with the connection {self.account}: {self.reason}"

    def to_step(self) -> dict[str, Any]:
        """Return the refusal as a receipt's history has it."""
        return {"account": self.account, "model": self.model, "reason": self.reason}


def index_of(routes: Sequence[Route], receipt: Receipt) -> int:
    """Return which route a receipt's submission took, by its account and its model.

    Only the account is needed to poll a generation, so it counts more than the model. The model alone finds
    the route of a video that was made before the route's connection changed its host.
    """
    account, model = receipt.request.get("account"), receipt.request.get("model")
    ranks = [2 * (route.account == account) + (route.model == model) for route in routes]
    return ranks.index(max(ranks))


def all_refused(error: VeoError, before: Sequence[Refusal]) -> VeoError:
    """Return the error of a video that every route refuses.

    It may be retried if that may help with one of the routes: a retry starts with the first one again.

    :param error: of the last route.
    :param before: why the others do not make it.
    """
    if not before:
        return error
    what = f"{error.what} No other route makes the video either. {' '.join(map(str, before))}"
    if not error.retryable and any(each.retryable for each in before):
        advice = "Retrying later is safe: a retry asks the first route again."
        return VeoNoChannelError(what, advice=advice)
    error.what = what
    return error


def steps_of(refusals: Sequence[Refusal]) -> tuple[Mapping[str, Any], ...]:
    """Return what a claim's step in the history says of the routes that were not asked."""
    return tuple(each.to_step() for each in refusals if not each.asked)
