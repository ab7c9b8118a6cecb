import pytest

from videofusion.training.learning_rate import Pace, progress, rate_factor


def test_progress_is_the_further_of_steps_and_seconds():
    assert progress(5, 10, 1.0, None) == 0.5
    assert progress(5, 10, 9.0, 10.0) == 0.9
    assert progress(9, 10, 1.0, 10.0) == 0.9
    assert progress(5, 10, 99.0, 10.0) == 1.0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_rises_evenly_from_above_zero(schedule):
    rises = [rate_factor(schedule, step, 4, 0.0) for step in range(5)]
    assert rises == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_constant_stays():
    assert rate_factor("constant", 50, 4, 0.9) == 1.0


def test_cosine_falls_from_one_to_a_hundredth_through_the_middle():
    values = [rate_factor("cosine", 100, 0, step / 100) for step in range(101)]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.505)
    assert values[-1] == pytest.approx(0.01)
    assert values == sorted(values, reverse=True)


def test_the_pace_says_what_share_goes_into_waiting_and_into_reading():
    pace = Pace(0.0)
    assert (pace.waiting, pace.reading) == (0, 0)
    for _ in range(5):
        pace.add(8, 2.0, waited=0.5, used=4.0, read=1.0)
    assert pace.rate == pytest.approx(4)
    assert (pace.waiting, pace.reading) == (pytest.approx(0.25), pytest.approx(0.25))
    for _ in range(200):  # what was is forgotten
        pace.add(8, 2.0, waited=0.0, used=4.0, read=3.0)
    assert (pace.waiting, pace.reading) == (pytest.approx(0, abs=0.01), pytest.approx(0.75, abs=0.01))
    assert pace.left(0.5) == pytest.approx(pace._seconds)
