"""Which topics a member wants: names, and patterns whose matches come and go."""

from __future__ import annotations

import re
from collections.abc import Sequence

from streamhouse.commits.state import State


class Subscription:
    """What was subscribed to, and the topics that are meant by it now.

    Args:
        topics: Names, and patterns that the whole name has to match.
    """

    def __init__(self, topics: Sequence[str | re.Pattern[str]]) -> None:
        self.names = [topic for topic in dict.fromkeys(topics) if isinstance(topic, str)]
        self.patterns = [topic for topic in dict.fromkeys(topics) if isinstance(topic, re.Pattern)]

    def __repr__(self) -> str:
        parts = [*self.names, *[f"/{pattern.pattern}/" for pattern in self.patterns]]
        return ", ".join(parts)

    def topics(self, state: State) -> tuple[int, ...]:
        """Ids of the topics that are meant."""
        ids = [state.topic_ids[name] for name in self.names if name in state.topic_ids]
        if self.patterns:
            ids += [id_ for name, id_ in state.topic_ids.items() if self._matches(name)]
        return tuple(sorted(set(ids)))

    def missing(self, state: State) -> list[str]:
        """Names of which there is no topic."""
        return [name for name in self.names if name not in state.topic_ids]

    def _matches(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in self.patterns)


def topics_token(state: State) -> tuple[int, int]:
    """Differs whenever a topic was made or deleted in between."""
    return state.next_topic_id, len(state.topics)
