"""Settings that both clients share: base URL, headers, timeouts and limits."""

from __future__ import annotations

from veo_provider import __version__

USER_AGENT = f"airflow-provider-veo/{__version__}"
DEFAULT_TIMEOUT = 60.0
"""Seconds without a byte from the server after which a call fails."""
MAX_TIMEOUTS = 2
"""A response must be complete within this many timeouts, even if a byte arrives now and then."""
SUBMIT_TIMEOUT = 300.0
"""Seconds within which a submission must be sent, and as many again for its response to be complete.

Long, because giving up early leaves open whether the generation was accepted.
"""
DOWNLOAD_TIMEOUT = 24 * 60 * 60.0
"""Seconds that a download may wait for bytes in total; a video has about 10 MB."""
MIN_BYTES_PER_TIMEOUT = 64 * 1024
"""A download that receives fewer bytes within a timeout has stalled, even if a byte arrives now and then."""
CONNECT_TIMEOUT = 15.0
