"""The asyncio engine that runs one segment of a batch."""
