"""What errors say about money, keys and places is the gateway's own."""

import pytest

from veo_provider import exceptions
from veo_provider.api import protocol
from veo_provider.api.gateways.apiyi import APIYI
from veo_provider.api.gateways.builtin import GATEWAYS
from veo_provider.api.video import Video, VideoStatus

APIYIS = ("apiyi", "Pay-per-request", "about 2 days")
OTHERS = [gateway for gateway in GATEWAYS.values() if gateway is not APIYI]


def every_error():
    """Each error of the package, without what only its own module says."""
    kinds = [exceptions.VeoError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return [kind("It went wrong.") for kind in kinds]


def test_apiyis_errors_say_what_they_have_always_said():
    """Its own words are those of the classes."""
    before = [str(error) for error in every_error()]
    assert [str(error.tell_in(APIYI.words)) for error in every_error()] == before
    assert sum(word in text for text in before for word in APIYIS) > 8


@pytest.mark.parametrize("gateway", OTHERS, ids=lambda gateway: gateway.name)
def test_no_other_gateways_error_speaks_of_apiyi(gateway):
    """Neither of its task log nor of its types of keys, its retention or its host."""
    for error in every_error():
        with pytest.raises(type(error)) as told, protocol.in_words_of(gateway):
            raise error
        assert not [word for word in APIYIS if word in str(told.value)]
    unknown = exceptions.VeoSubmissionUnknown("It was lost.").tell_in(gateway.words)
    assert gateway.task_log in str(unknown)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("apiyi", "A failed generation is not charged. Clear the task"),
        (
            "openai",
            "It may have been charged: the gateway does not say. Look it up in the gateway's task log",
        ),
        (
            "litellm",
            "It may have been charged: the gateway does not say. Look it up in the log of the provider",
        ),
        (
            "openrouter",
            "It may have been charged: the gateway does not say. Look it up in https://openrouter.ai",
        ),
    ],
)
def test_a_failure_is_free_only_where_the_gateway_says_so(name, says):
    """Nobody is told to generate a video again for nothing where that is not known."""
    with pytest.raises(exceptions.VeoGenerationFailed) as told:
        Video("task_1", VideoStatus.FAILED).raise_if_failed(GATEWAYS[name])
    assert says in str(told.value)
