"""The video API's room: what to send, how to read an answer; nothing of Airflow and nothing of S3."""
