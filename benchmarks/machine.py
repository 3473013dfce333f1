"""What the figures were measured on: the machine, and the versions that take part."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = {
    "Airflow": "apache-airflow",
    "aiohttp": "aiohttp",
    "requests": "requests",
    "boto3": "boto3",
}


def describe() -> dict[str, str]:
    """Give machine, kernel, Python and versions, each as what a reader calls it and its value."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": f"{_cpu()}, {os.cpu_count()} cores",
        "Memory": f"{memory:.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: _version(package) for name, package in PACKAGES.items()},
    }


def _cpu() -> str:
    """Linux names the CPU's model only here; elsewhere the architecture has to do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
