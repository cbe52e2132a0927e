"""What is in the log: topics, partitions, and where their blocks lie."""
