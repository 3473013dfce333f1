"""Template fields of operators whose parameters Airflow's own attributes leave no room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self


class TemplateFields(tuple[str, ...]):  # noqa: SLOT001 - a tuple cannot have slots that are not empty
    """The templated attributes, which also answer for parameters that are kept under another name.

    ``output`` and ``dry_run`` are attributes of every operator of Airflow, so the parameters are kept as
    ``output_uri`` and ``only_estimate``. A mapped operator looks for the upstream tasks of a parameter by its
    own name: without this, ``partial(dry_run=an_xcom)`` would not wait for the task that returns it.

    :param attributes: what is rendered.
    :param parameters: what they are called by the constructor, where that differs.
    """

    parameters: frozenset[str]

    def __new__(cls, attributes: Iterable[str], parameters: Iterable[str] = ()) -> Self:
        """Return the tuple of the attributes, which knows the parameters as well."""
        made = super().__new__(cls, attributes)
        made.parameters = frozenset(parameters)
        return made

    def __getnewargs__(self) -> tuple[tuple[str, ...], frozenset[str]]:
        return tuple(self), self.parameters

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.parameters
