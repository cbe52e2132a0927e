"""What keeps a log small and fast: retention, compaction of small blocks, compaction by key, collection."""
