"""The rate limiter: a sliding window per key, with bounded memory."""

from gateway.base.rate_limit import MAX_EVENTS_PER_KEY, MAX_KEYS, RateLimit, RateLimiter


def test_a_key_waits_until_its_oldest_event_leaves_the_window() -> None:
    now = 0.0
    limiter, rate = RateLimiter(lambda: now), RateLimit(2, 60.0)
    assert limiter.wait_s("a", rate) == 0
    limiter.record("a")
    now = 10.0
    assert limiter.wait_s("a", rate) == 0
    limiter.record("a")
    now = 20.5
    assert limiter.wait_s("a", rate) == 40
    assert limiter.wait_s("b", rate) == 0
    now = 60.0
    assert limiter.wait_s("a", rate) == 0
    assert limiter.wait_s("a", RateLimit(0, 60.0)) == 60, "no events at all"


def test_an_event_is_undone_and_a_key_is_reset() -> None:
    limiter, rate = RateLimiter(lambda: 0.0), RateLimit(1, 60.0)
    limiter.record("a"), limiter.remove_last("a"), limiter.remove_last("never seen")
    assert limiter.wait_s("a", rate) == 0
    limiter.record("a")
    assert limiter.wait_s("a", rate) == 61
    limiter.reset("a"), limiter.reset("never seen")
    assert limiter.wait_s("a", rate) == 0


def test_memory_is_bounded() -> None:
    limiter, rate = RateLimiter(lambda: 0.0), RateLimit(1, 60.0)
    for n in range(3000):
        limiter.record(str(n))
    assert limiter.wait_s("2999", rate) == 61
    assert limiter.wait_s(str(2999 - MAX_KEYS), rate) == 0
    for _ in range(2 * MAX_EVENTS_PER_KEY):
        limiter.record("flood")
    assert limiter.wait_s("flood", RateLimit(MAX_EVENTS_PER_KEY, 60.0)) == 61
