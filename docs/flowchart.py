"""The flowchart of docs/models.md: a ladder of questions, an answer beside each, as an SVG with links."""

from html import escape

import skmtl

LADDER = [  # question, then answers: what holds, and the names to use
    ("Is each row of its own kind?", [
        ("some rows lack whole groups of columns", ["IncompleteMultiSourceRegressor"]),
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
    """The SVG; a name that is not public is an error."""
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
                assert name in skmtl.__all__, f"docs/flowchart.py names {name}, which is not public"
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
