"""The test kit: what StreamHouse is tested with, for those who build on it.

=====================  ============================================================================
:mod:`.plugin`         pytest fixtures: a log per test, in memory, on a directory or on S3
:mod:`.conformance`    the tests that every object store must pass
:mod:`.stores`         wrappers around a store: faults on demand, slowness
:mod:`.clock`          time that stands still until a test moves it
:mod:`.s3server`       an S3 server in memory, with scripted faults
:mod:`.ministack`      somebody else's S3 server, as a second opinion
:mod:`.history`        what producers were told and consumers saw, written down
:mod:`.checker`        checks such a history for lost, doubled and reordered records
:mod:`.group_history`  what members of consumer groups saw, and what the log says of it
:mod:`.group_checker`  checks that: nothing skipped, no two owners, no offsets of stale members
=====================  ============================================================================
"""
