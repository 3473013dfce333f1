"""Apache Airflow provider that turns images into Veo 3.1 videos."""

__version__ = "0.1.0"
