"""Settings of Sphinx, which builds the documentation; ``scripts/docs`` runs it."""

import tfgmm

project = "tfgmm"
author = "The tfgmm developers"
project_copyright = author
version = release = tfgmm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]

# Pages are written for a git host too: plain Markdown, and headings that can be linked to.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Notebooks are Python files with cells; they run in a temporary folder whenever the site is built.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # s for one cell; scripts/docs says how long each notebook took
nb_execution_show_tb = True
nb_output_stderr = "remove"  # TensorFlow writes about the processor

# The docstrings name the types, as NumPy's do, and code stands in single backticks.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
default_role = "code"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_use_param = False

# Nothing is loaded from elsewhere: the site works without a network.
html_theme = "furo"
html_title = f"tfgmm {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
nb_ipywidgets_js = {}
