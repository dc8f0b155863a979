"""Sphinx settings: ``sphinx-build -W docs docs/_build`` makes the site and runs the gallery."""

import sys
from pathlib import Path

from sklearn.base import BaseEstimator
from sphinx_gallery.sorting import ExplicitOrder

import skmtl
from skmtl import datasets, inspection, losses, metrics, penalties, solvers

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from flowchart import flowchart  # noqa: E402

project = "skmtl"
author = copyright = "The skmtl developers"
version = release = skmtl.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
numpydoc_show_class_members = False
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

GROUPS = {  # estimators as a reader looks for them: what stands before Regressor and Classifier
    "Tasks around a common model": ["MeanRegularized", "TaskResidual"],
    "Tasks that use the same features": [
        "GroupSparse", "MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV",
        "Dirty", "IncompleteMultiSource",
    ],
    "Tasks in a common subspace": ["TraceNorm", "SharedSubspace", "LatentBasis", "SparseLowRank"],
    "Tasks with relations to be learned": ["TaskRelationship", "Clustered", "Robust"],
    "Tasks with known relations": ["GraphRegularized", "Temporal", "Hierarchical"],
    "Any penalty, any mixture of losses": ["MultiTask", "MixedTaskModel"],
    "Networks": ["MultiTaskMLP"],
    "Any estimator of scikit-learn": ["SingleTask", "Pooled", "TaskConformal"],
    "Searches": ["PathSearchCV"],
}  # fmt: skip


def api_page():
    """The page of public names, `api.rst`: all that the modules hold in `__all__`."""

    def are(kind, names, module):
        items = {name: getattr(module, name) for name in names}
        return [name for name, item in items.items() if isinstance(item, type) and issubclass(item, kind)]

    def rest(names, chosen):
        return [name for name in names if name not in chosen]

    models = are(BaseEstimator, skmtl.__all__, skmtl)
    sections = {
        title: [n for stem in stems for n in models if n in (stem, f"{stem}Regressor", f"{stem}Classifier")]
        for title, stems in GROUPS.items()
    }
    missing = rest(models, [name for names in sections.values() for name in names])
    assert not missing, f"docs/conf.py puts {missing} into no group of estimators"
    functions = are(penalties.VectorFunction, penalties.__all__, penalties)
    sections |= {
        "Choosing, comparing, data": rest(skmtl.__all__, models),
        "Pictures": [f"inspection.{name}" for name in inspection.__all__],
        "Data sets": [f"datasets.{name}" for name in datasets.__all__],
        "Metrics": [f"metrics.{name}" for name in metrics.__all__],
        "Penalties": [f"penalties.{name}" for name in rest(penalties.__all__, functions)],
        "Vector functions": [f"penalties.{name}" for name in functions],
        "Losses": [f"losses.{name}" for name in losses.__all__],
        "Solvers": [f"solvers.{name}" for name in solvers.__all__],
    }
    page = "API reference\n=============\n\n.. currentmodule:: skmtl\n"
    for title, names in sections.items():
        listed = "".join(f"   {name}\n" for name in names)
        page += f"\n{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :toctree: generated\n\n{listed}"
    return page


(HERE / "api.rst").write_text(api_page())
(HERE / "flowchart.svg").write_text(flowchart())
