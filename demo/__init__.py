"""A whole Airflow and the sandbox on this machine: ``python -m demo`` runs the example DAG in them."""
