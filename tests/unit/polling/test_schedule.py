"""The schedule: within bounds whatever happens, and with fewer polls than a fixed interval needs."""

import math
import random
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.schedule import Fixed, lognormal, simulate
from veo_provider.polling.schedule import LogNormalPrior, PollSchedule, schedule_of

RESOLUTIONS = ("720p", "1080p", "4k", "", "8k")
# Beyond the hour that is kept, before the submission (clocks differ), and for ever.
ages = st.floats(min_value=-100, max_value=20_000) | st.sampled_from(
    [0.0, math.inf, -math.inf, 1e300, 5e-324]
)


@pytest.fixture(autouse=True)
def fresh_process():
    schedule_of.cache_clear()
    yield
    schedule_of.cache_clear()


def fresh(resolution: str = "720p") -> PollSchedule:
    schedule_of.cache_clear()
    return schedule_of("", resolution)


def drawn(latencies, count: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)  # noqa: S311  a simulation, which has to repeat itself
    return [latencies(chance) for _ in range(count)]


def against_fixed(schedule: PollSchedule, latencies: list[float], in_flight: int = 10) -> tuple[float, float]:
    """Polls and mean delay, each as a share of those of a poll every 8 s."""
    ours, fixed = simulate(schedule, latencies, in_flight), simulate(Fixed(8), latencies, in_flight)
    return (
        fmean(one.looks for one in ours) / fmean(one.looks for one in fixed),
        fmean(one.delay for one in ours) / fmean(one.delay for one in fixed),
    )


@settings(deadline=None, max_examples=50)  # no timings in tests
@given(
    resolution=st.sampled_from(RESOLUTIONS),
    seen=st.lists(st.tuples(ages, ages, st.integers(1, 60)), max_size=12),
    elapsed=ages,
)
def test_pauses_stay_within_bounds(resolution, seen, elapsed):
    """Whatever was learned or asked, even nonsense, a pause has half a second to 120 s."""
    schedule = fresh(resolution)
    for earliest, latest, times in seen:
        for _ in range(times):
            assert 0.5 <= schedule.pause(earliest) <= 120
            schedule.learn(earliest, latest)
    assert 0.5 <= schedule.pause(elapsed) <= 120


@settings(deadline=None, max_examples=50)  # no timings in tests
@given(
    resolution=st.sampled_from(RESOLUTIONS),
    latencies=st.lists(st.floats(min_value=0.01, max_value=5000), min_size=1, max_size=20),
    in_flight=st.integers(1, 20),
)
def test_every_completion_is_seen(resolution, latencies, in_flight):
    """However long videos take, each completion is seen, and none later than 120 s after it."""
    seen = simulate(fresh(resolution), latencies, in_flight)
    assert all(0 <= one.delay <= 120 and one.looks >= 1 for one in seen)


@pytest.mark.parametrize(
    ("resolution", "median", "sigma", "most"), [("720p", 90, 0.25, 0.6), ("4k", 330, 0.12, 0.3)]
)
def test_fewer_polls_see_completions_no_later(resolution, median, sigma, most):
    """After some hundred videos of the documented latencies, fewer polls see completions no later."""
    schedule = fresh(resolution)
    latencies = drawn(lognormal(median, sigma), 1500)
    simulate(schedule, latencies[:300], 10)
    looks, delay = against_fixed(schedule, latencies[300:])
    assert looks <= most
    assert delay <= 1


@pytest.mark.parametrize(
    ("resolution", "median", "sigma", "most"), [("720p", 90, 0.25, 0.75), ("4k", 330, 0.12, 0.4)]
)
def test_saves_polls_from_the_start(resolution, median, sigma, most):
    """A process that knows only the documented figures needs fewer polls even for its first videos."""
    results = [
        against_fixed(fresh(resolution), drawn(lognormal(median, sigma), 100, seed)) for seed in range(10)
    ]
    assert fmean(looks for looks, _ in results) <= most
    assert fmean(delay for _, delay in results) <= 1


def test_many_waits_at_once_teach_no_haste():
    """While the fast ones of many videos finish, the others are not expected to finish at any moment."""
    schedule = fresh()
    latencies = drawn(lognormal(90, 0.25), 2300)
    simulate(schedule, latencies[:300], 10)
    looks, delay = against_fixed(schedule, latencies[300:], in_flight=2000)
    assert looks <= 0.75
    assert delay <= 1


def bimodal(chance: random.Random) -> float:
    return (40 if chance.random() < 0.5 else 240) * math.exp(chance.gauss(0, 0.15))


def with_outliers(chance: random.Random) -> float:
    return (600 if chance.random() < 0.02 else 90) * math.exp(chance.gauss(0, 0.25))


@pytest.mark.parametrize(
    ("latencies", "most_looks", "most_delay"),
    [
        pytest.param(bimodal, 0.7, 1.1, id="two kinds of videos"),
        pytest.param(with_outliers, 0.7, 1.1, id="outliers"),
        pytest.param(lognormal(90, 0.6), 0.9, 1.1, id="widely spread"),
        pytest.param(lognormal(360, 0.2), 0.8, 1.1, id="far slower than documented"),
        pytest.param(lognormal(10, 0.1), 5.0, 0.1, id="far faster than documented, so seen sooner"),
        pytest.param(lognormal(90, 0), 0.3, 1.6, id="always the same"),
    ],
)
def test_unforeseen_latencies(latencies, most_looks, most_delay):
    """Latencies that are not as documented are learned, and still need fewer polls than a fixed interval."""
    looks, delay = against_fixed(fresh(), drawn(latencies, 800))
    assert looks <= most_looks
    assert delay <= most_delay


def test_starts_from_the_observations_of_another_process():
    """Quick videos are seen soon from the first one on; own observations count for more."""
    latencies = drawn(lognormal(20, 0.4), 30)
    ignorant, informed = fresh(), PollSchedule(LogNormalPrior(95, 0.3))
    informed.expect(20)
    delays = [fmean(one.delay for one in simulate(each, latencies, 10)) for each in (ignorant, informed)]
    assert delays[1] < delays[0] / 2
    before = informed.pause(50.0)
    informed.expect(3000)
    assert informed.pause(50.0) == pytest.approx(before, rel=0.2)


def test_follows_the_hour_of_the_day():
    """Latencies that grow threefold and shrink again, each within 200 videos, are followed."""
    medians = (90 * 3 ** abs((video / 200 + 1) % 2 - 1) for video in range(1200))
    spread = drawn(lognormal(1, 0.25), 1200)
    latencies = [median * factor for median, factor in zip(medians, spread, strict=True)]
    looks, delay = against_fixed(fresh(), latencies)
    assert looks <= 0.75
    assert delay <= 1.1


def test_forgets_what_is_long_past():
    """However long videos took one time, some hundred that take another are enough to learn that."""
    schedule = fresh()
    simulate(schedule, drawn(lognormal(60, 0.2), 3000), 10)
    simulate(schedule, drawn(lognormal(200, 0.2), 300), 10)
    looks, delay = against_fixed(schedule, drawn(lognormal(200, 0.2), 300, seed=2))
    assert looks <= 0.75
    assert delay <= 1.2
    looks, delay = against_fixed(schedule, drawn(lognormal(60, 0.2), 300))
    assert looks <= 0.6
    assert delay <= 1.2


def test_videos_that_finish_at_once_are_polled_at_once():
    """If all finish before the trigger may fire at all, the first poll comes soon after that."""
    schedule = fresh()
    seen = simulate(schedule, [0.2] * 100, 1)
    assert all(one.looks == 1 for one in seen)
    assert seen[-1].delay < 10


def test_a_wait_long_overdue_is_polled_steadily():
    """A wait that is attached when nearly every video is done keeps polling, at pauses below a minute."""
    schedule = fresh()
    simulate(schedule, drawn(lognormal(90, 0.25), 300), 10)
    assert all(schedule.pause(age) < 60 for age in (300, 600, 3000))


def test_an_outage_teaches_nothing():
    """Completions that may have been at any time, as after an outage, do not spoil the timetable."""
    schedule = fresh()
    simulate(schedule, drawn(lognormal(90, 0.25), 600), 10)
    latencies = drawn(lognormal(90, 0.25), 600, seed=2)
    for _ in range(50):
        schedule.learn(6, 3000)
    looks, delay = against_fixed(schedule, latencies)
    assert looks <= 0.6
    assert delay <= 1


def test_the_same_latencies_give_the_same_polls():
    """Nothing is random: the observations decide."""
    latencies = drawn(lognormal(90, 0.25), 200)
    assert simulate(fresh(), latencies, 10) == simulate(fresh(), latencies, 10)


def test_each_kind_learns_for_itself():
    """Models and resolutions have schedules of their own, which all waits of a process share."""
    assert schedule_of("veo", "720p") is schedule_of("veo", "720p")
    kinds = [(model, resolution) for model in ("veo", "fast") for resolution in RESOLUTIONS]
    assert len({id(schedule_of(*kind)) for kind in kinds}) == len(kinds)


def test_several_threads_may_share_it():
    """Polls from several threads at once leave it consistent."""
    schedule = fresh()

    def wait(seed: int) -> None:
        simulate(schedule, drawn(lognormal(90, 0.25), 100, seed), 10)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(wait, range(4)))
    looks, delay = against_fixed(schedule, drawn(lognormal(90, 0.25), 500, seed=9))
    assert looks <= 0.6
    assert delay <= 1.1
