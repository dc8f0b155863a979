"""Tables of results: as data frames, as text and as HTML."""

import html

import numpy as np

from ._labels import object_array, plain_array

LEAST_P = 0.001  # of p-values that are written in full


def frame(columns, index=None):
    """Columns {name: values} as a data frame with an index {name: labels}; without pandas a record array."""
    index = {} if index is None else index
    columns, index = ({str(k): _column(v) for k, v in part.items()} for part in (columns, index))
    try:
        import pandas as pd
    except ImportError:
        fields = [*index.items(), *columns.items()]
        return np.rec.fromarrays([values for _, values in fields], names=_distinct([k for k, _ in fields]))
    found = pd.DataFrame(columns)
    if len(index) == 1:
        found.index = pd.Index(*index.values(), name=next(iter(index)))
    elif index:
        found.index = pd.MultiIndex.from_arrays(list(index.values()), names=list(index))
    return found


def _column(values):
    """An array of one axis: what are tuples stay objects."""
    out = plain_array(values)
    return out if out.ndim == 1 else object_array(values)


def _distinct(names):
    """The names, a bar behind each that was there before."""
    found = []
    for name in names:
        while name in found:
            name += "_"
        found.append(name)
    return found


def names_of(table):
    """Names of the columns of such a table."""
    return list(table.columns if hasattr(table, "columns") else table.dtype.names)


def cell(value, name=""):
    """A value in a table, with four digits; those below a bound in a column of p-values by the bound."""
    if not isinstance(value, (float, np.floating)):
        return str(value)
    if np.isnan(value):
        return "-"
    if name.startswith("p_") and value < LEAST_P:
        return f"<{LEAST_P}"
    if 0 < abs(value) < 5e-5:  # not 0.0000
        return f"{value:.0e}"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def shown_names(family, names):
    """Names of features, also behind those of tasks, with x0, x1, ... for positions; others as they are."""
    if family.startswith(("coefficients", "changes")):
        return [(task, *shown_names("features", [feature])) for task, feature in names]
    positions = family.startswith("features")
    return [f"x{name}" if positions and isinstance(name, int) else name for name in names]


def p_words(p):
    """A p-value in words; those of no use beyond their size are bounded."""
    return "no p-value" if np.isnan(p) else f"p < {LEAST_P}" if p < LEAST_P else f"p = {p:.2g}"


def in_line(text):
    """A text without what would break a line of it, such as a new line in the name of a task."""
    return text if text.isprintable() else repr(text)[1:-1]


def as_text(rows):
    """Lines of a table of texts, the header first, its columns aligned."""
    rows = [[*map(in_line, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def tagged(tag, parts):
    """Texts in tags of HTML."""
    return "".join(f"<{tag}>{html.escape(part)}</{tag}>" for part in parts)


def as_html(rows, caption):
    """The same in HTML."""
    head, *body = rows
    lines = [tagged("th", head), *(tagged("td", row) for row in body)]
    title = f'<caption style="white-space: nowrap; text-align: left">{html.escape(caption)}</caption>'
    return f"<table>{title}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def as_markdown(rows):
    """Lines of the same in the Markdown of GitHub."""
    head, *body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *body)]
