"""The documentation as a site: `python -m sphinx -W -d build/doctrees docs build/site`; no network, no import."""

project = "add"
copyright = "2026, the add authors"
extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = "add"
html_copy_source = False

napoleon_use_ivar = True  # attributes in a docstring are fields, not objects beside those that are found
myst_heading_anchors = 3  # so that links to headings are checked, too

# The reference is read from the source, not imported, so that neither torch nor an installed package is needed.
autoapi_dirs = ["../add"]
autoapi_generate_api_docs = False  # reference.md says what is shown
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_options = ["members", "imported-members"]
autoapi_python_class_content = "both"
default_role = "literal"  # `name` in a docstring is code
# Docstrings are plain text: what docutils minds in them as reStructuredText is no fault. Links stay checked.
suppress_warnings = ["docutils", "autoapi.python_import_resolution"]
