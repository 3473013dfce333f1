"""Prompts that are kept in files beside the DAG, as Airflow's operators read their scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from veo_provider.exceptions import VeoRequestError
from veo_provider.retry_policy import fail_on_permanent_errors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    import jinja2
    from airflow.providers.common.compat.sdk import Context

_FIELDS = ("prompt", "negative_prompt")


class PromptFiles(BaseOperator):
    """Reads the files that a prompt names, and takes no other field for the name of a file.

    Airflow applies ``template_ext`` to everything that is templated: it would read an output, a receipt or a
    list of images with such a suffix as well.
    """

    template_ext: Sequence[str] = (".txt", ".md")

    _files_are_read = False
    """Whether that is done: what a file says may end like the name of another."""

    def resolve_template_files(self) -> None:
        """Read the files when the DAG is parsed.

        :raises VeoRequestError: there is no such file, or it is no text.
        """
        self._read_files(self.get_template_env(), ())
        self.prepare_template()

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Read the files that no parser of the DAG has read, such as those of a mapped task, and render."""
        if parent is not self:  # a value with template fields of its own
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        with fail_on_permanent_errors():
            self._read_files(jinja_env, seen_oids)
        # From here on Airflow is to take nothing for the name of a file.
        self.template_ext = ()
        try:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        finally:
            del self.template_ext

    def _read_files(self, env: jinja2.Environment, results: Collection[int]) -> None:
        """Put what the files say in the place of their names.

        :param results: of upstream tasks, by their ``id()``: these are texts, whatever they end with.
        """

        def read(value: Any) -> Any:
            if id(value) in results:
                return value
            if isinstance(value, str):
                return _text_in(value, env) if value.endswith(tuple(self.template_ext)) else value
            if isinstance(value, (list, tuple)):
                return type(value)(map(read, value))
            return {key: read(text) for key, text in value.items()} if isinstance(value, dict) else value

        if self._files_are_read:
            return
        for field in _FIELDS:
            setattr(self, field, read(getattr(self, field)))
        self._files_are_read = True


def _text_in(name: str, env: jinja2.Environment) -> str:
    """Return the text in a file, its templates unrendered.

    :raises VeoRequestError: there is no such file, or it is no text.
    """
    from jinja2 import FunctionLoader, TemplateNotFound

    # A task without a DAG has no folder either.
    loader = env.loader or FunctionLoader(lambda _: None)
    try:
        return loader.get_source(env, name)[0].removeprefix("\ufeff")
    except TemplateNotFound as error:
        raise VeoRequestError(
            f"The prompt {name!r} ends like the name of a file, and there is no such file in the DAG's "
            "folder or its template_searchpath. If it is a text and no name, let it end with a full stop."
        ) from error
    except (UnicodeDecodeError, OSError) as error:
        raise VeoRequestError(f"The prompt in the file {name!r} cannot be read: {error}.") from error
