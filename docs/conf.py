from veo_provider import __version__

project = "airflow-provider-veo"
author = copyright = "The airflow-provider-veo authors"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "benchmarks"]  # the latter is part of a page
html_theme = "furo"
html_title = f"airflow-provider-veo {release}"

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
