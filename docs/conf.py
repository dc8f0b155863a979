"""Sphinx settings: ``sphinx-build -W docs docs/_build`` makes the site and runs the gallery."""

import re
from functools import partial
from html import escape
from pathlib import Path
from runpy import run_path

from docutils import nodes
from jinja2 import BytecodeCache
from jinja2.sandbox import SandboxedEnvironment
from latex2mathml.converter import convert
from numpydoc import docscrape_sphinx
from sphinx_gallery.sorting import ExplicitOrder

import skmtl

HERE = Path(__file__).parent
MADE = run_path(HERE / "made_pages.py")

project = "skmtl"
author = copyright = "The skmtl developers"
version = release = skmtl.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"  # the sections say it
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "skmtl"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {name: [] for name in ("index", "quickstart", "models")}
ORDER = ["does_sharing_help", "few_rows_per_task", "structures"]  # what a reader sees first in the gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "ignore_pattern": "benchmarks",
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in ORDER] + ["*"]),
    "doc_module": ("skmtl",),
    "backreferences_dir": "generated/backreferences",
    "remove_config_comments": True,
    "download_all_examples": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib",),
}

(HERE / "api.rst").write_text(MADE["api_page"]())
(HERE / "flowchart.html").write_text(MADE["flowchart"]() + MADE["flow_list"]())


class Kept(BytecodeCache, dict):
    """Templates that are compiled: numpydoc asks a new environment for its template, for each docstring."""

    def load_bytecode(self, bucket):
        if bucket.key in self:
            bucket.bytecode_from_string(self[bucket.key])

    def dump_bytecode(self, bucket):
        self[bucket.key] = bucket.bytecode_to_string()


docscrape_sphinx.SandboxedEnvironment = partial(SandboxedEnvironment, bytecode_cache=Kept())


def mathml(tex, display):
    """A formula with its TeX, to be read without script or network; raises where the converter gives up."""
    made = convert(tex, display=display)
    if left := re.findall(r"\\\w*", made):
        raise ValueError(f"no MathML for {left} in the formula {tex}")
    start, body = re.fullmatch(r"(<math.*?>)(.*)</math>", made, flags=re.DOTALL).groups()
    source = f'<annotation encoding="application/x-tex">{escape(tex.strip())}</annotation>'
    return f"{start}<semantics>{body}{source}</semantics></math>"


def visit_formula(self, node):
    tag, display = ("div", "block") if isinstance(node, nodes.math_block) else ("span", "inline")
    self.body.append(f"{self.starttag(node, tag, '', CLASS='math')}{mathml(node.astext(), display)}</{tag}>")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (visit_formula, None), (visit_formula, None))
