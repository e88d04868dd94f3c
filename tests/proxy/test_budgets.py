"""Budgets: what is spent is counted before it is used, for the skill and for each host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perstack_proxy.budgets import BudgetSpent, Ledger
from perstack_proxy.rules import Budget, Budgets

WIDE = Budget(connections=1000, requests_per_minute=1000, bytes_up=10**9, bytes_down=10**9)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def spent(action, code: str) -> None:
    with pytest.raises(BudgetSpent) as caught:
        action()
    assert caught.value.code == code


def test_connections_count_until_they_are_gone():
    ledger = Ledger(Budgets(skill=WIDE._replace(connections=2), host=WIDE))
    ledger.enter()
    ledger.enter()
    spent(ledger.enter, "connections")
    ledger.leave()
    ledger.enter()


def test_each_host_has_connections_of_its_own():
    ledger = Ledger(Budgets(skill=WIDE, host=WIDE._replace(connections=1)))
    ledger.open("a.example.com", wildcard=False)
    spent(lambda: ledger.open("a.example.com", wildcard=False), "connections")
    ledger.open("b.example.com", wildcard=False)
    ledger.close("a.example.com")
    ledger.open("a.example.com", wildcard=False)


def test_requests_come_back_after_a_minute():
    clock = Clock()
    ledger = Ledger(Budgets(skill=WIDE._replace(requests_per_minute=2), host=WIDE), clock=clock)
    ledger.enter()
    clock.now = 30.0
    ledger.enter()
    spent(ledger.enter, "requests")
    clock.now = 60.5
    ledger.enter()
    spent(ledger.enter, "requests")


def test_a_refused_request_holds_no_connection():
    clock = Clock()
    ledger = Ledger(Budgets(skill=WIDE._replace(requests_per_minute=1, connections=2), host=WIDE), clock=clock)
    ledger.enter()
    for _ in range(5):
        spent(ledger.enter, "requests")
    clock.now = 61.0
    ledger.enter()


def test_AN7_a_name_below_a_wildcard_counts_once():
    ledger = Ledger(Budgets(skill=WIDE, host=WIDE, wildcard_names=2))
    for name in ("a.example.com", "a.example.com", "b.example.com"):
        ledger.open(name, wildcard=True)
    spent(lambda: ledger.open("c.example.com", wildcard=True), "wildcard-names")
    ledger.open("c.example.com", wildcard=False)


@given(st.lists(st.tuples(st.sampled_from(["a.example.com", "b.example.com"]), st.integers(1, 50), st.booleans())))
def test_no_more_than_the_budget_ever_passes(uses):
    ledger = Ledger(Budgets(skill=WIDE._replace(bytes_up=100), host=WIDE._replace(bytes_up=60, bytes_down=80)))
    passed = {("a.example.com", True): 0, ("b.example.com", True): 0, ("a.example.com", False): 0}
    for host in ("a.example.com", "b.example.com"):
        ledger.open(host, wildcard=False)
    for host, count, up in uses:
        allowed = min(count, ledger.left(host, up=up))
        ledger.spend(host, allowed, up=up)
        passed[host, up] = passed.get((host, up), 0) + allowed
    assert all(count <= (60 if up else 80) for (_, up), count in passed.items())
    assert passed["a.example.com", True] + passed["b.example.com", True] <= 100
    if ledger.left("a.example.com", up=True) == 0:
        spent(lambda: ledger.open("a.example.com", wildcard=False), "bytes")
