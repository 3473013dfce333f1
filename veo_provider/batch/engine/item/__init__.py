"""One item of a batch: it is submitted, polled and stored, or ends with an error of its own."""
