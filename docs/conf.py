"""How Sphinx makes the web book; `python -m tools.book` brings notebooks and pictures together and calls it."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

project = "blendkit"
author = "the blendkit contributors"
extensions = ["myst_nb", "sphinx_book_theme"]
root_doc = "index"
html_math_renderer = "mathml"
html_extra_path = ["extra"]

nb_execution_mode = "off"  # tools.run_notebooks has run them
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # solutions have the exercises' small headings below their title

html_title = "blendkit"
html_theme = "sphinx_book_theme"
html_static_path = ["book"]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_search_summary = False  # it would fetch pages, which browsers refuse from disk
html_context = {"default_mode": "auto"}
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "home_page_in_toc": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def setup(app):
    """Formulas as MathML, which browsers draw themselves: there is nothing to load."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _inline(writer, node):
    writer.body.append(convert(node.astext()))
    raise SkipNode


def _block(writer, node):
    writer.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise SkipNode
