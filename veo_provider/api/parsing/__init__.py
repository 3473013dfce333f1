"""HTTP responses in, videos, links or errors out: what each response of the API means. No I/O."""
