"""A gateway may call a generation by another id than it gave out; another's answer is still no answer."""

import json

import pytest

from veo_provider.api.http.response import Response
from veo_provider.api.parsing.task_ids import ALIAS_CONFIRMATIONS, Aliases
from veo_provider.api.protocol import parse_video
from veo_provider.api.video import VideoStatus
from veo_provider.exceptions import VeoUnexpectedAnswerError

OWN, ALIAS, OTHER = "task_own", "models/veo/operations/alias", "task_other"


def said(name, status="completed"):
    return Response(200, json.dumps({"id": name, "status": status}).encode())


def refused(aliases, name, status="completed", asked=OWN):
    with pytest.raises(VeoUnexpectedAnswerError):
        parse_video(said(name, status), asked, aliases)
    return True


def test_an_alias_is_believed_when_nothing_else_is_ever_said():
    """After several answers in a row the video is taken for the one that was asked for, under its own id."""
    aliases = Aliases()
    for _ in range(ALIAS_CONFIRMATIONS - 1):
        assert refused(aliases, ALIAS, "queued")
    video = parse_video(said(ALIAS), OWN, aliases)
    assert (video.id, video.status) == (OWN, VideoStatus.COMPLETED)


def test_without_a_memory_no_alias_is_believed():
    """A single answer that names another id is another generation's."""
    assert refused(None, ALIAS)


def test_a_failure_under_an_alias_is_never_believed():
    """For a failure a second generation might be paid."""
    aliases = Aliases()
    assert all(refused(aliases, ALIAS, "failed") for _ in range(3 * ALIAS_CONFIRMATIONS))


def test_ids_that_change_are_not_believed():
    """A proxy that mixes up answers names now this one and now that one."""
    aliases = Aliases()
    assert all(refused(aliases, (ALIAS, OTHER)[n % 2]) for n in range(4 * ALIAS_CONFIRMATIONS))


def test_an_id_that_was_named_once_is_not_replaced():
    """Where the gateway knows the id itself, another one is another generation's."""
    aliases = Aliases()
    parse_video(said(OWN, "queued"), OWN, aliases)
    assert all(refused(aliases, ALIAS) for _ in range(3 * ALIAS_CONFIRMATIONS))


def test_an_id_that_is_named_for_two_is_believed_for_none():
    """A cache that answers all with the same is believed for nobody."""
    aliases = Aliases()
    for _ in range(3 * ALIAS_CONFIRMATIONS):
        assert refused(aliases, ALIAS, asked=OTHER) | refused(aliases, ALIAS)


def test_another_generation_that_is_waited_for_is_no_alias():
    """The id of another generation belongs to that one, finished or not."""
    aliases = Aliases()
    parse_video(said(OTHER, "completed"), OTHER, aliases)
    assert all(refused(aliases, OTHER) for _ in range(3 * ALIAS_CONFIRMATIONS))
