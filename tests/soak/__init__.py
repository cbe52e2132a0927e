"""Many processes on one log, killed, paused and crowded; the history that they leave is checked.

``python -m tests.soak kill --runs 500`` kills writers and readers at random moments,
``python -m tests.soak many`` lets eight write at once,
``python -m tests.soak chain --runs 10 --seconds 60`` processes records exactly once through three topics,
``python -m tests.soak groups --runs 10 --seconds 60`` has members of groups killed, stopped and replaced,
``python -m tests.soak compaction --seconds 600`` writes, reads, compacts and removes at once, in fast time,
``python -m tests.soak kafka --minutes 10`` kills gateways and their Kafka clients in turn,
``python -m tests.soak kafka_fuzz --frames 1000000`` sends damaged requests to a Kafka gateway.
``--store`` takes ``dir``, ``fake`` or, for ``many``, ``ministack``.
Short versions run in the test suite.
"""
