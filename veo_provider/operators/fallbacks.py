"""Other routes for the videos of an operator: a connection and a model each, asked after a refusal."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoError, VeoRequestError
from veo_provider.operators.base import VeoRequestOperator
from veo_provider.parameters import as_pairs, require_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from veo_provider.generation.fallbacks import Route


class VeoFallbackOperator(VeoRequestOperator):
    """Ask for videos, by another connection and model if one provably refuses.

    The other parameters are those of :class:`~veo_provider.operators.base.VeoRequestOperator`.

    :param fallbacks: pairs ``(veo_conn_id, model)`` that are asked in this order after ``veo_conn_id`` and
        ``model``; default none. The next one is asked only if the one before has provably accepted nothing:
        its gateway has no channel for the model, the model has ended, or the account is empty. It is never
        asked after a lost response or a failed generation. (templated)
    :param fallback_on_moderation: also ask the next one if moderation refuses the submission; default False.
    """

    template_fields: Sequence[str] = (*VeoRequestOperator.template_fields, "fallbacks")

    def __init__(
        self,
        *,
        fallbacks: Sequence[tuple[str, str]] = (),
        fallback_on_moderation: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        require_pairs("fallbacks", fallbacks)
        self.fallbacks = fallbacks
        self.fallback_on_moderation = fallback_on_moderation

    @property
    def _has_fallbacks(self) -> bool:
        return bool(self._pairs())

    def _pairs(self) -> list[tuple[str, str]]:
        """Return the fallbacks.

        :raises VeoRequestError: they are not of their form.
        """
        return as_pairs("fallbacks", self.fallbacks)

    @contextmanager
    def _open_routes(self) -> Iterator[tuple[Route, ...]]:
        """Return the routes of the task's videos, with their clients, which are closed in the end.

        :raises VeoRequestError: a fallback is wrong, or two routes are the same.
        """
        from veo_provider.generation.fallbacks import Route
        from veo_provider.hooks.veo import VeoHook

        with ExitStack() as stack:
            client = stack.enter_context(VeoHook(self.veo_conn_id).get_conn())
            routes = [Route(self.veo_conn_id, self._model(client.gateway), client)]
            for number, (veo_conn_id, model) in enumerate(self._pairs()):
                where = f"fallbacks[{number}]"
                try:
                    client = stack.enter_context(VeoHook(veo_conn_id).get_conn())
                except VeoError as error:
                    raise VeoRequestError(f"{where} cannot be used: {error.what}") from error
                require_new(where, (veo_conn_id, model), [(each.veo_conn_id, each.model) for each in routes])
                routes.append(Route(veo_conn_id, model, client))
            yield tuple(routes)


def require_new(where: str, pair: tuple[str, str], before: Sequence[tuple[str, str]]) -> None:
    """Refuse a route that is there already.

    :param where: the element, for the message.
    :raises VeoRequestError: it is.
    """
    if pair in before:
        raise VeoRequestError(
            f"{where} is the connection {pair[0]} and the model {pair[1]}, which are asked before it already."
        )
