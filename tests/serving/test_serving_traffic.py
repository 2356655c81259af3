"""Who answers: by version, by key, by lot."""

from __future__ import annotations

import pytest

from volant.serving.traffic import Traffic


def table(*routes, sticky=None):
    keys = ("revision", "version", "percent", "mode")
    return Traffic(
        {
            "routes": [{**dict(zip(keys, r, strict=True)), "socket": f"/r{r[0]}"} for r in routes],
            "sticky": sticky,
        }
    )


def never():
    raise AssertionError("the parameters were read")


def test_serving_a_lot_gives_a_canary_its_percentage():
    traffic = table((2, "2", 10, "canary"))
    hits = sum(traffic.choose({}, never) is not None for _ in range(20_000))
    assert 1700 < hits < 2300  # 2000 ± 7 standard deviations


@pytest.mark.parametrize("mode", ["shadow", "held"])
def test_serving_only_canaries_answer_for_others(mode):
    traffic = table((2, "2", 100, mode))
    assert traffic.choose({}, never) is None
    assert traffic.versions["2"].revision == 2


def test_serving_a_key_stays_in_as_the_percentage_grows():
    users = [f"user-{i}".encode() for i in range(2000)]

    def inside(percent):
        traffic = table((2, "2", percent, "canary"), sticky={"header": "X-User"})
        return {u for u in users if traffic.choose({b"x-user": u}, never) is not None}

    few, half, every = inside(10), inside(50), inside(100)
    assert few < half < every == set(users)
    assert 130 < len(few) < 270
    assert 850 < len(half) < 1150
    assert inside(10) == few


def test_serving_another_canary_begins_with_other_keys():
    users = [f"{i}".encode() for i in range(500)]

    def inside(revision):
        traffic = table((revision, "9", 20, "canary"), sticky={"header": "u"})
        return {u for u in users if traffic.choose({b"u": u}, never) is not None}

    assert inside(2) != inside(3)


def test_serving_a_key_among_the_parameters():
    traffic = table((2, "2", 50, "canary"), sticky={"parameter": "user"})
    for user in ("ann", 7, True):
        chosen = {traffic.choose({}, lambda user=user: {"user": user}) for _ in range(50)}
        assert len(chosen) == 1
    for without in (None, {}, {"other": 1}):
        chosen = {traffic.choose({}, lambda without=without: without) for _ in range(200)}
        assert len(chosen) == 2  # by lot


def test_serving_two_canaries_share():
    traffic = table((2, "2", 20, "canary"), (3, "3", 30, "canary"))
    seen = [traffic.choose({}, never) for _ in range(20_000)]
    shares = [sum(r is not None and r.revision == n for r in seen) / 20_000 for n in (2, 3)]
    assert shares == pytest.approx([0.2, 0.3], abs=0.025)


def test_serving_a_shadow_gets_its_share_of_copies():
    traffic = table((2, "2", 25, "shadow"))
    assert 0.2 < sum(traffic.shadow() is not None for _ in range(5000)) / 5000 < 0.3
    assert table((2, "2", 0, "shadow")).shadow() is None


def test_serving_the_newest_revision_speaks_for_its_version():
    assert table((5, "2", 0, "held"), (3, "2", 0, "held")).versions["2"].revision == 5
