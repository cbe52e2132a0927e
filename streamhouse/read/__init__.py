"""From an offset to records: look-up, cache or ranged GET, decoding, positions."""
