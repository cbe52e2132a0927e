"""The test kit: what StreamHouse is tested with, for those who build on it.

=============================  ====================================================================
:mod:`.plugin`                 pytest fixtures: a log per test, in memory, on a directory or on S3
:mod:`.history`                what producers were told and consumers saw, written down
:mod:`.checker`                checks such a history for lost, doubled and reordered records
=============================  ====================================================================
"""
