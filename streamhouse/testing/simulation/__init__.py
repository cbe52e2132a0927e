"""A seeded simulator of the commit engine.

Several agents, each with the real :class:`~streamhouse.commits.engine.Engine`, run on one event loop with
virtual time against a bucket in memory that loses, delays and repeats requests, while agents are stopped,
killed and collect garbage, and hours pass. What clients were told is then compared with what the log
holds. A run is determined by its seed::

    python -m streamhouse.testing.simulation --seeds 1000
    python -m streamhouse.testing.simulation --start 4711 --seeds 1 --trace
    python -m streamhouse.testing.simulation --table

=============================  ====================================================================
:mod:`.loop`                   the event loop, and processes that can be stopped and killed
:mod:`.faults`, :mod:`.plan`   what goes wrong, and what happens in one run
:mod:`.store`                  the bucket, and the network in front of it
:mod:`.records`                the ledger: what was sent, answered and seen
:mod:`.world`, :mod:`.clients` the agents, and those who use them
:mod:`.members`                what runs inside the agents: members of groups, ...
:mod:`.transactions`           ... transactions, their blocks uploaded ahead (:mod:`.uploads`), ...
:mod:`.rewriting`              ... and compaction
:mod:`.observer`               what each commit did, and what it should have done
:mod:`.run`, :mod:`.checks`    one run, and what must hold of it
:mod:`.guards`, :mod:`.sweep`  rules switched off; many runs
=============================  ====================================================================
"""

from streamhouse.testing.simulation.guards import GUARDS, guards_without
from streamhouse.testing.simulation.records import Violation
from streamhouse.testing.simulation.run import Outcome, simulate

__all__ = ["GUARDS", "Outcome", "Violation", "guards_without", "simulate"]
