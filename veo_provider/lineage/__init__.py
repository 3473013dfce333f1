"""What each task reads and writes, for OpenLineage. Imported only where its provider is installed."""
