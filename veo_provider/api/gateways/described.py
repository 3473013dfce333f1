"""The gateway that a connection's extra names or describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from veo_provider.api.gateways.builtin import GATEWAYS
from veo_provider.exceptions import VeoRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from veo_provider.api.gateways.gateway import Gateway


def gateway_of(extra: Mapping[str, Any]) -> Gateway:
    """Return the gateway of a connection.

    :param extra: the connection's extra.
    :raises VeoRequestError: it names a gateway that nobody has described.
    """
    name = extra.get("gateway") or "apiyi"
    if name not in GATEWAYS:
        raise VeoRequestError(f"gateway={name!r} is not one of {', '.join(GATEWAYS)}.")
    return GATEWAYS[name]
