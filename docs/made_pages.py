"""What the site has made of the public names: the API reference and the flowchart of models.md."""

from html import escape

from sklearn.base import BaseEstimator

import skmtl
from skmtl import dask, datasets, inspection, losses, metrics, penalties, solvers

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
    "Any estimator of scikit-learn": ["SingleTask", "Pooled", "TaskConformal", "TasksFromColumn"],
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
    sections["More estimators"] = rest(models, [name for names in sections.values() for name in names])
    functions = are(penalties.VectorFunction, penalties.__all__, penalties)
    sections |= {
        "Choosing, comparing, data": rest(skmtl.__all__, models),
        "On collections of Dask": [f"dask.{name}" for name in dask.__all__],
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
        if not names:
            continue
        listed = "".join(f"   {name}\n" for name in names)
        page += f"\n{title}\n{'-' * len(title)}\n\n.. autosummary::\n   :toctree: generated\n\n{listed}"
    return page


LADDER = [  # question, then answers: what holds, and the names to use
    ("Is each row of its own kind?", [
        ("rows lack whole groups of columns", ["IncompleteMultiSourceRegressor"]),
        ("one y is a class, another a number", ["MixedTaskModel"]),
    ]),
    ("Do you know how the tasks are related?", [
        ("neighbours, distances", ["GraphRegularizedRegressor"]),
        ("an order: months, doses, ages", ["TemporalRegressor"]),
        ("a tree: shops in towns in states", ["HierarchicalRegressor"]),
    ]),
    ("Do effects vary about a common model?", [
        ("schools, patients, shops; few features", ["MeanRegularizedRegressor"]),
        ("some tasks are unlike all others", ["RobustRegressor"]),
        ("tasks form groups", ["ClusteredRegressor"]),
    ]),
    ("Do few of many features matter?", [
        ("the same ones in every task", ["GroupSparseRegressor", "MultiTaskLasso"]),
        ("mostly the same", ["DirtyRegressor"]),
    ]),
    ("Are there many correlated outputs?", [
        ("a few directions explain all tasks", ["TraceNormRegressor", "SharedSubspaceRegressor"]),
        ("you want to see which tasks are alike", ["TaskRelationshipRegressor"]),
    ]),
    ("Are straight lines not enough?", [
        ("curves of single features", ["feature_groups", "GroupSparseRegressor"]),
        ("any function, common features", ["MultiTaskMLPRegressor"]),
        ("a forest for all, tasks on top", ["TaskResidual"]),
    ]),
    ("None of these?", [
        ("let all of them race", ["suggest"]),
        ("write the penalty", ["MultiTaskRegressor"]),
    ]),
]  # fmt: skip
ROW, TOP, QUESTION, ANSWER, GAP = 30, 12, 350, 720, 60


def label(name):
    """What a name is called in the chart: a pair without its ending."""
    stem = name.removesuffix("Regressor")
    return f"{stem}*" if f"{stem}Classifier" in skmtl.__all__ else name


def flowchart():
    """Questions in a column, answers beside each, as an SVG with links; all names must be public."""
    parts, y = [], TOP
    for i, (question, answers) in enumerate(LADDER):
        height = ROW * len(answers)
        middle = y + height / 2
        parts.append(f'<rect class="q" x="2" y="{y}" width="{QUESTION}" height="{height}" rx="8"/>')
        parts.append(f'<text class="ask" x="16" y="{middle + 5}">{escape(question)}</text>')
        left = QUESTION + GAP
        for k, (holds, names) in enumerate(answers):
            line = y + ROW * (k + 0.5)
            curve = f"{left - 20} {middle} {QUESTION + 22} {line} {left} {line}"
            parts.append(f'<path d="M{QUESTION + 2} {middle} C{curve}"/>')
            parts.append(f'<text x="{left + 8}" y="{line + 5}">{escape(holds)}</text>')
            at = ANSWER
            for name in names:
                assert name in skmtl.__all__, f"the flowchart names {name}, which is not public"
                width = 8.4 * len(label(name)) + 16
                parts.append(
                    f'<a href="generated/skmtl.{name}.html"><title>{name}</title>'
                    f'<rect class="a" x="{at}" y="{line - 12}" width="{width}" height="24" rx="6"/>'
                    f'<text class="name" x="{at + 8}" y="{line + 5}">{label(name)}</text></a>'
                )
                at += width + 8
        y += height
        if i < len(LADDER) - 1:
            parts.append(f'<path d="M40 {y} v{GAP / 2}"/><text class="no" x="50" y="{y + 20}">no</text>')
            y += GAP / 2
    return (
        f'<svg class="flowchart" viewBox="0 0 1180 {y + TOP}" xmlns="http://www.w3.org/2000/svg" role="img" '
        'aria-label="Which model for my tasks?"><desc>Questions from top to bottom, with the estimators for '
        f"each answer.</desc>{''.join(parts)}</svg>"
    )


def flow_list():
    """The same questions and answers as a list, for screens too narrow for the chart."""

    def answer(holds, names):
        links = " ".join(f'<a href="generated/skmtl.{name}.html">{label(name)}</a>' for name in names)
        return f"<li>{escape(holds)}<br>{links}</li>"

    items = (
        f"<li><p>{escape(question)}</p><ul>{''.join(answer(*pair) for pair in answers)}</ul></li>"
        for question, answers in LADDER
    )
    return f'<ol class="flowlist">{"".join(items)}</ol>'
