"""Which routes the images of a batch do not ask, and for how long."""

import json

import pytest
from support.generations import Clock

from veo_provider.batch.engine.refused_routes import RefusedRoutes
from veo_provider.generation.fallbacks import Refusal

REFUSAL = Refusal(account="one", model="fast", reason="No channel.", retryable=True, asked=True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def routes(clock):
    return RefusedRoutes(pause=600.0, clock=clock.time)


def test_a_route_that_refused_is_not_asked_for_a_while(routes, clock):
    """Ten thousand images do not ask it one by one; their receipts say why."""
    assert routes.pass_image() == {}
    routes.add(0, REFUSAL)
    for _ in range(3):
        (refusal,) = routes.pass_image().values()
        assert (refusal.reason, refusal.asked) == ("No channel.", False)
        clock.sleep(199.0)


def test_after_the_pause_one_image_asks_it_again(routes, clock):
    """If that is refused as well, the others have not asked in vain."""
    routes.add(0, REFUSAL)
    clock.sleep(600.0)
    assert routes.paused == routes.paused == {}
    assert routes.pass_image() == {}
    assert list(routes.pass_image()) == [0]


def test_a_route_that_accepts_is_asked_by_all(routes, clock):
    """The outage is over."""
    routes.add(0, REFUSAL)
    clock.sleep(600.0)
    routes.pass_image()
    routes.remove(0)
    assert routes.pass_image() == {}


def test_the_next_segment_knows_it(routes, clock):
    """It goes through JSON, and a clock that is ahead does not lengthen the pause."""
    routes.add(1, REFUSAL)
    state = json.loads(json.dumps(routes.to_dict()))
    assert list(RefusedRoutes(state, pause=600.0, clock=clock.time).pass_image()) == [1]
    state["1"]["until"] += 5000.0
    later = RefusedRoutes(state, pause=600.0, clock=clock.time)
    clock.sleep(600.0)
    assert later.pass_image() == {}
