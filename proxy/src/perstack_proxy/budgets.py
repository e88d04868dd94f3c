"""What a skill has used of its budgets. One `Ledger` per skill; every method may be called from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from perstack_proxy.rules import Budget, Budgets

CONNECTIONS = "connections"
REQUESTS = "requests"
NAMES = "wildcard-names"
BYTES = "bytes"

_MINUTE = 60.0


class BudgetSpent(Exception):
    """Nothing is left of a budget.

    Attributes:
        code: `CONNECTIONS`, `REQUESTS`, `NAMES` or `BYTES`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Account:
    """What was used of one `Budget`. The ledger's lock guards it."""

    __slots__ = ("_budget", "_of", "_times", "connections", "down", "up")

    def __init__(self, budget: Budget, of: str) -> None:
        self._budget = budget
        self._of = of
        self._times: deque[float] = deque()
        self.connections = 0
        self.up = self.down = 0

    def request(self, now: float) -> None:
        while self._times and self._times[0] <= now - _MINUTE:
            self._times.popleft()
        if len(self._times) >= self._budget.requests_per_minute:
            limit = self._budget.requests_per_minute
            raise BudgetSpent(REQUESTS, f"{self._of} has used its {limit} requests of a minute")
        self._times.append(now)

    def connect(self) -> None:
        if self.connections >= self._budget.connections:
            limit = self._budget.connections
            raise BudgetSpent(CONNECTIONS, f"{self._of} has its {limit} connections open")
        self.connections += 1

    def left(self, *, up: bool) -> int:
        return self._budget.bytes_up - self.up if up else self._budget.bytes_down - self.down


class Ledger:
    """The use of one skill's budgets."""

    def __init__(self, budgets: Budgets, *, clock: Callable[[], float] = monotonic) -> None:
        self._budgets = budgets
        self._clock = clock
        self._lock = threading.Lock()
        self._skill = _Account(budgets.skill, "the skill")
        self._hosts: dict[str, _Account] = {}
        self._below_wildcards: set[str] = set()

    def enter(self) -> None:
        """A client is connected. It counts from before its first byte, so that silence is no way around the bound.

        Raises:
            BudgetSpent: Too many clients are connected, or too many came within a minute.
        """
        with self._lock:
            self._skill.connect()
            try:
                self._skill.request(self._clock())
            except BudgetSpent:
                self._skill.connections -= 1
                raise

    def leave(self) -> None:
        """A client that entered is gone."""
        with self._lock:
            self._skill.connections -= 1

    def open(self, host: str, *, wildcard: bool) -> None:
        """A connection to an allowed host is about to be opened; the name may be looked up afterwards.

        Raises:
            BudgetSpent: Nothing is left of one of the budgets.
        """
        with self._lock:
            if wildcard and host not in self._below_wildcards:
                if len(self._below_wildcards) >= self._budgets.wildcard_names:
                    limit = self._budgets.wildcard_names
                    raise BudgetSpent(NAMES, f"the skill has used its {limit} names below wildcards")
                self._below_wildcards.add(host)
            account = self._hosts.setdefault(host, _Account(self._budgets.host, f"the host {host!r}"))
            if self._left(account, up=True) <= 0 or self._left(account, up=False) <= 0:
                raise BudgetSpent(BYTES, "no bytes are left in the budget")
            account.request(self._clock())
            account.connect()

    def close(self, host: str) -> None:
        """A connection that was opened is closed."""
        with self._lock:
            self._hosts[host].connections -= 1

    def left(self, host: str, *, up: bool) -> int:
        """How many more bytes may pass in this direction."""
        with self._lock:
            return self._left(self._hosts[host], up=up)

    def spend(self, host: str, count: int, *, up: bool) -> None:
        """So many bytes are about to pass."""
        with self._lock:
            for account in (self._skill, self._hosts[host]):
                if up:
                    account.up += count
                else:
                    account.down += count

    def _left(self, account: _Account, *, up: bool) -> int:
        return min(self._skill.left(up=up), account.left(up=up))
