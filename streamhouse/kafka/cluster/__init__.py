"""The gateways of a log: which there are, which of them are alive, and who serves what."""
