"""The video API: requests, responses and two clients. Independent of Airflow and S3."""
