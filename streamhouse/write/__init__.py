"""The write path: what was sent becomes encoded blocks, in order, within a bound of memory."""
