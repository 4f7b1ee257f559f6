"""The site: Sphinx reads the repository's Markdown where it lies, and the docstrings.

python -m sphinx -c docs . build/site     # which is `make docs`
"""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from yolov1 import __version__

project, author, release = "yolov1", "the yolov1 authors", __version__
copyright = f"{author}, MIT licence"

# The repository is the source folder, so that a link from any page to any file is the same one on
# GitHub and here.
root_doc = "docs/index"
include_patterns = ["docs/**.md", "*.md", "kernels/README.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "dist", "runs"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
highlight_language = "none"  # of blocks that name no language: what programs print
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_ivar, napoleon_attr_annotations = True, False
toc_object_entries_show_parents = "hide"

html_theme = "furo"  # light and dark, narrow and wide; nothing is loaded from elsewhere
html_title = "yolov1"
html_permalinks_icon = "#"
html_copy_source = html_show_sourcelink = html_show_sphinx = False
templates_path = ["templates"]
html_additional_pages = {"index": "start.html"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"  # the browser's own: no script, no font, no network


def setup(app):
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _indented, priority=900)  # after Napoleon
    app.connect("autodoc-skip-member", _field_of_a_tuple)


def _inline(writer, node):
    writer.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(writer, node):
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _indented(app, what, name, found, options, lines):
    """Code and formulas are indented in our docstrings, with nothing that announces them."""
    for k in range(len(lines) - 1, 1, -1):
        text, before, above = lines[k], lines[k - 1], lines[k - 2]
        if text.startswith("    ") and not before and above and above[0] not in " :.-*":
            if not above.endswith("::"):
                lines[k:k] = ["::", ""]


def _field_of_a_tuple(app, what, name, found, skip, options):
    """What the fields of a NamedTuple are, its own docstring says."""
    return True if str(found.__doc__).startswith("Alias for field number") else None
