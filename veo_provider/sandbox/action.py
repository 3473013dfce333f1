"""What may happen to one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Action:
    """What happens to one call; field by field the second table of :mod:`veo_provider.sandbox.faults`."""

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

    @property
    def informational(self) -> Sequence[int]:
        """Statuses of the heads that come before the answer."""
        return [self.early] if isinstance(self.early, int) else self.early

    @property
    def reaches(self) -> bool:
        """Whether the call gets through to the service, whatever the client hears of it."""
        if self.status is not None or self.garbage:
            return self.accept or self.reset == "after"
        return self.reset != "before" or self.truncate is not None
