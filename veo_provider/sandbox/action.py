"""What the matching fault rules do to one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Action:
    """What is done to one call; the fields are the second table of :mod:`veo_provider.sandbox.faults`."""

    status: int | None = None
    body: Any = None
    text: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accept: bool = False
    delay: float = 0
    reset: str | None = None
    garbage: bool | str = False
    set: Mapping[str, Any] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    task_status: str | None = None
    fail: bool | Mapping[str, str] = False
    filtered: bool | int = False
    truncate: float | None = None
    drip: int | None = None
    pad: int = 0
    ranges: bool = True
    gone: bool = False
    json_url: bool = False
    early: int | Sequence[int] = ()
    framing: str | None = None
    retired: bool | int = False
    no_channel: bool | int = False
    completed_error: Mapping[str, str] | None = None
    other_task: bool | str = False
    words: Mapping[str, str] = field(default_factory=dict)
    wrap: bool = False
    etag: str | None = None
    row_delay: float = 0
    no_row: bool = False
    only_row: bool = False
    foreign: str | None = None
    empty: bool = False
    stale: float = 0
    skew: float = 0
    keys: bool = False
    input_object: bool = False

    @property
    def informational_statuses(self) -> Sequence[int]:
        """Return the statuses of the informational responses sent before the final one."""
        return [self.early] if isinstance(self.early, int) else self.early

    @property
    def reaches_service(self) -> bool:
        """Return whether the service processes the call, whatever response the client gets."""
        if self.status is not None or self.garbage:
            return self.accept or self.reset == "after"
        return self.reset != "before" or self.truncate is not None
