"""The documentation site: sphinx, MyST and Furo.  `make docs` writes it to build/docs."""

project = "distill"
copyright = "the distill contributors"
author = "the distill contributors"
release = "0.1.0"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["decisions/template.md"]
myst_enable_extensions = ["deflist", "fieldlist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "distill"
html_static_path = ["_static"]
html_show_sphinx = False
pygments_dark_style = "github-dark"
# Topics lists every page by pattern, those that stand elsewhere too.
suppress_warnings = ["toc.multiple_toc_parents"]
nitpicky = True
