"""Sphinx settings: ``sphinx-build -W docs docs/_build``."""

from pathlib import Path

from sklearn.base import BaseEstimator

import skmtl
from skmtl import datasets, inspection, losses, metrics, penalties, solvers

project = "skmtl"
release = skmtl.__version__
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
autosummary_generate = True
numpydoc_show_class_members = False
html_theme = "alabaster"


def api_page():
    """The page of public names, `api.rst`: all that the modules hold in `__all__`."""

    def are(kind, names, module=skmtl):
        items = {name: getattr(module, name) for name in names}
        return [name for name, item in items.items() if isinstance(item, type) and issubclass(item, kind)]

    def rest(names, chosen):
        return [name for name in names if name not in chosen]

    models, functions = (
        are(BaseEstimator, skmtl.__all__),
        are(penalties.VectorFunction, penalties.__all__, penalties),
    )
    sections = {
        "Estimators": models,
        "Data and comparison": rest(skmtl.__all__, models)
        + [f"datasets.{name}" for name in datasets.__all__],
        "Pictures": [f"inspection.{name}" for name in inspection.__all__],
        "Metrics": [f"metrics.{name}" for name in metrics.__all__],
        "Penalties": [f"penalties.{name}" for name in rest(penalties.__all__, functions)],
        "Vector functions": [f"penalties.{name}" for name in functions],
        "Losses": [f"losses.{name}" for name in losses.__all__],
        "Solvers": [f"solvers.{name}" for name in solvers.__all__],
    }
    page = "Public names\n============\n\n.. currentmodule:: skmtl\n"
    for title, names in sections.items():
        listed = "".join(f"   {name}\n" for name in names)
        page += f"\n{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :toctree: generated\n\n{listed}"
    return page


Path(__file__).with_name("api.rst").write_text(api_page())
