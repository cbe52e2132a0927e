"""Kafka's record batches of magic 2: bytes to columns and back. Pure, no input or output.

Read in this order: ``errors``; ``layout``, where what lies in a batch; ``checksum``, ``compression``;
``source`` and ``few``, records one by one; ``varints``, ``ranges``, ``binaries``, ``framed``, ``headers``,
``boundaries`` and ``many``, whole columns with numpy; ``parse`` and ``build``, which are what others call.
"""
