from __future__ import annotations

from contextnet_ros.inference import recent
from contextnet_ros.inference.recent import Recent


def test_the_last_keys_are_kept_and_the_oldest_made_anew(monkeypatch):
    monkeypatch.setattr(recent, "_KEPT", 2)
    made = []

    def make(key):
        made.append(key)
        return key.upper()

    kept = Recent()
    for key in "aabacab":
        assert kept.get(key, lambda key=key: make(key)) == key.upper()
    # "a" was asked for before "c" came, so that "b" went.
    assert made == ["a", "b", "c", "b"]


def test_what_can_not_be_made_is_not_kept():
    kept = Recent()

    def failing():
        raise MemoryError

    for _ in range(2):
        try:
            kept.get(1, failing)
        except MemoryError:
            continue
    assert kept.get(1, lambda: 2) == 2
