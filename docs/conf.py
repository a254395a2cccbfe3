"""How `make docs` builds the site from these pages and from the docstrings."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_extensions")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nlp_lstm  # noqa: E402

project = "nlp_lstm"
author = "the nlp_lstm contributors"
version = release = nlp_lstm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
    "outside_links",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_extensions"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # as code hosts have them
suppress_warnings = ["misc.highlighting_failure"]  # what programs print is in no language

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say it, with shapes
autodoc_inherit_docstrings = False  # Keras's are in Markdown
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Call arguments", "params_style"), ("Beyond Keras", "params_style")]
default_role = "literal"  # in a docstring `this` is code, as in Markdown

html_theme = "furo"
html_title = "nlp_lstm"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

# `make links`: asks the network, so it is no part of the check.
linkcheck_anchors = False
linkcheck_ignore = [r"http://localhost.*", r"http://127\.0\.0\.1.*"]


def _skip_numbers_of_fields(app, what, name, obj, skip, options):
    """A named tuple says of a field without a docstring its number alone."""
    return skip or str(getattr(obj, "__doc__", "")).startswith("Alias for field number")


def setup(app):
    app.connect("autodoc-skip-member", _skip_numbers_of_fields)
