"""The page in Airflow's UI: what was made, what it cost, and what needs a person."""
