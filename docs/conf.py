"""How Sphinx builds the documentation: `make docs`.

Tutorials and the gallery are notebooks in text, executed anew in every build. Nothing
in the pages is fetched from another host: `_ext/pages.py` looks, and says so.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import physgrad

HERE = Path(__file__).parent
BUILD = HERE / "_build"
sys.path.insert(0, str(HERE / "_ext"))

# The kernels of the notebooks inherit these: compile quickly, as the tests do; keep
# what was compiled; leave the home folder of the user alone.
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), "--xla_cpu_use_fusion_emitters=false"]
).strip()
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(HERE.parent / ".cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["IPYTHONDIR"] = str(BUILD / "ipython")
PROFILE = BUILD / "ipython" / "profile_default"
PROFILE.mkdir(parents=True, exist_ok=True)
# kernels warn of their own transport, and keep a history of what was typed
QUIET = "c.IPKernelApp.log_level = 40\nc.HistoryManager.enabled = False\n"
(PROFILE / "ipython_kernel_config.py").write_text(QUIET, encoding="utf-8")

project = "physgrad"
author = "physgrad contributors"
project_copyright = author
release = version = physgrad.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_design",
    "commands",  # this and the following: in _ext
    "docstrings",
    "mathml",
    "names",
    "pages",
]
exclude_patterns = ["_build", "experiments/results"]
nitpicky = True

# Notebooks: always executed, so that every number is of this version.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
# A picture is drawn as lines; where a cell also has text, the text is for terminals.
nb_mime_priority_overrides = [("*", "image/svg+xml", 5)]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# The docstrings tell the kinds of arguments in words.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
add_module_names = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"physgrad {release}"
html_static_path = ["_static"]
html_css_files = ["physgrad.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#00694C",
        "color-brand-content": "#00694C",
    },
    "dark_css_variables": {
        "color-brand-primary": "#3CC79A",
        "color-brand-content": "#3CC79A",
    },
}
