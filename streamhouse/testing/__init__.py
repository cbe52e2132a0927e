"""The test kit: what StreamHouse is tested with, for those who build on it.

=============================  ====================================================================
:mod:`.plugin`                 pytest fixtures: a log per test, in memory, on a directory or on S3
:mod:`.history`                checks a recorded history for lost, doubled and reordered records
=============================  ====================================================================
"""
