"""How many partitions of which pool each member shall have: the balance of the sticky assignors.

A pool is all partitions of the topics that the same members read. Which of its partitions somebody has makes
no difference to the balance, so only numbers are moved here.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from heapq import heapify, heapreplace

from streamhouse.assignors.members import each, first


class Loads:
    """How many partitions of which pool each member has: first ``fill`` each pool, then ``balance``.

    Members are bits of a number and kept by load, so that the emptiest one of some is found by a few
    ``and`` operations, not by looking at each.

    Args:
        readers: Pool -> the members that may have its partitions.
        owned: Member -> pool -> how many of the pool it has now and may keep.

    Attributes:
        held: The same, as it shall be.
    """

    def __init__(self, readers: Sequence[int], owned: Sequence[Mapping[int, int]]) -> None:
        self.held = [dict(mine) for mine in owned]
        self._readers = readers
        self._owned = owned
        self._load = [sum(mine.values()) for mine in owned]
        self._choice = [0] * len(owned)  # member -> of how many pools it may have some
        for members in readers:
            for member in each(members):
                self._choice[member] += 1
        self._levels: list[int] = []  # the loads that occur, ascending
        self._at: dict[int, int] = {}  # load -> the members that have it

    def fill(self, pool: int, count: int) -> None:
        """Give partitions of a pool, each to the emptiest member; of these to the one with the least choice.

        Those with more choice stay free to take from others later.
        """
        members = each(self._readers[pool])
        queue = [(self._load[member], self._choice[member], member) for member in members]
        heapify(queue)
        for _ in range(count):
            load, choice, member = queue[0]
            heapreplace(queue, (load + 1, choice, member))
            self._load[member] = load + 1
            self.held[member][pool] = self.held[member].get(pool, 0) + 1

    def balance(self) -> None:
        """Move from the fullest to the emptiest it can give to, until none is two below the other."""
        for member, load in enumerate(self._load):
            self._enter(member, load)
        active = (1 << len(self._load)) - 1  # who may still have something to give
        while active:
            donor = self._fullest(active)
            receiver = self._emptiest_below(self._reach(donor), self._load[donor] - 1)
            if receiver is None:
                active ^= 1 << donor
                continue
            self._move(self._cheapest_pool(donor, receiver), donor, receiver)
            # The donor now takes from those two above it; the receiver may have to pass on.
            active |= 1 << receiver | self._at.get(self._load[donor] + 2, 0)

    def _reach(self, donor: int) -> int:
        reach = 0
        for pool in self.held[donor]:
            reach |= self._readers[pool]
        return reach

    def _fullest(self, among: int) -> int:
        for load in reversed(self._levels):
            if found := self._at[load] & among:
                return first(found)
        raise AssertionError("among is not empty")

    def _emptiest_below(self, among: int, limit: int) -> int | None:
        for load in self._levels:
            if load >= limit:
                return None
            if found := self._at[load] & among:
                return first(found)
        return None

    def _cheapest_pool(self, donor: int, receiver: int) -> int:
        """Of the pools it could be, the one in which the fewest owned partitions change hands."""
        possible = [pool for pool in self.held[donor] if self._readers[pool] >> receiver & 1]
        return min(possible, key=lambda pool: (self._cost(pool, donor, receiver), pool))

    def _cost(self, pool: int, donor: int, receiver: int) -> int:
        gives_its_own = self.held[donor][pool] <= self._owned[donor].get(pool, 0)
        gets_its_own = self.held[receiver].get(pool, 0) < self._owned[receiver].get(pool, 0)
        return gives_its_own - gets_its_own

    def _move(self, pool: int, donor: int, receiver: int) -> None:
        self.held[receiver][pool] = self.held[receiver].get(pool, 0) + 1
        self.held[donor][pool] -= 1
        if not self.held[donor][pool]:
            del self.held[donor][pool]
        self._shift(donor, -1)
        self._shift(receiver, 1)

    def _shift(self, member: int, by: int) -> None:
        load = self._load[member]
        self._at[load] ^= 1 << member
        if not self._at[load]:
            del self._at[load]
            self._levels.remove(load)
        self._load[member] = load + by
        self._enter(member, load + by)

    def _enter(self, member: int, load: int) -> None:
        if load not in self._at:
            self._at[load] = 0
            insort(self._levels, load)
        self._at[load] |= 1 << member
