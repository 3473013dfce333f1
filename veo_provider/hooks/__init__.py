"""How Airflow reaches the API."""
