"""Parameters of estimators: fields of dataclasses that state what they may be, documented where they stand.

A field ``alpha: Annotated[float, STRENGTH] = 1.0`` is a keyword-only parameter, its type, its constraint and
its default. A class documents its own parameters and attributes; those of its bases join them.
"""

import inspect
import re
import sys
from bisect import insort
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import wraps
from numbers import Integral, Real
from types import MappingProxyType
from typing import Annotated, get_origin

from ._sklearn import Interval, StrOptions

COUNT = Interval(Integral, 1, None, closed="left")
STRENGTH = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
RATIO = Interval(Real, 0, 1, closed="both")
FRACTION = Interval(Real, 0, 1, closed="neither")
AUTO = StrOptions({"auto"})
TaskColumn = Annotated[str | int | None, None, str, Integral]

SECTIONS = ("Parameters", "Attributes", "Raises", "See Also", "Notes", "References", "Examples")


def with_parameters(cls):
    """Class decorator: the constructor and the constraints of the fields, own ones and those of the bases."""
    doc = cls.__doc__
    cls = dataclass(eq=False, repr=False, kw_only=True)(cls)
    cls.__doc__ = doc
    stated = {one.name: one.type for one in fields(cls) if get_origin(one.type) is Annotated}
    cls._parameter_constraints = {name: list(kind.__metadata__) for name, kind in stated.items()}
    cls.__init__.__annotations__ |= {name: kind.__origin__ for name, kind in stated.items()}
    cls.__init__ = _telling(cls.__init__)
    return cls


def _telling(made):
    """A constructor whose error names the parameter that is like one that there is not."""
    known = [*inspect.signature(made).parameters][1:]

    @wraps(made)
    def __init__(self, *args, **kwargs):
        try:
            made(self, *args, **kwargs)
        except TypeError as error:
            unknown = next((name for name in kwargs if name not in known), None)
            near = [one for one in known if unknown and unknown.startswith(one)]
            near = near or get_close_matches(str(unknown), known, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
            raise TypeError(f"{error}: {meant}" if unknown else str(error)) from None

    return __init__


def documented(cls, texts=MappingProxyType({})):
    """A public class, with a docstring in which stands what all its bases say of their fields and attributes.

    Without one of its own it has the `_template` of its first base, and what `texts` call "closing" before
    the first section. They also fill in the places ``%(name)s``. Its module names it in ``__all__``.
    """
    template = _sections(getattr(cls.__bases__[0], "_template", None))
    intro, sections = _sections(cls.__doc__) if cls.__doc__ else template
    intro += "" if cls.__doc__ else f"\n    {texts.get('closing', '')}\n"
    named, parameters, attributes = {*inspect.signature(cls).parameters}, {}, {}
    for base in reversed(cls.__mro__):
        own = _sections(vars(base).get("_template") or base.__doc__)[1]
        parameters |= _entries(own.get("Parameters", ""))
        attributes = _entries(own.get("Attributes", "")) | attributes
    own = (text for name, text in parameters.items() if {*name.split(", ")} <= named)
    sections["Parameters"] = "".join(own)
    sections["Attributes"] = "".join(attributes.values())
    text = intro + "".join(
        f"\n    {name}\n    {'-' * len(name)}\n{sections[name]}" for name in SECTIONS if sections.get(name)
    )
    cls.__doc__ = f"{filled(text, texts).rstrip()}\n    "
    insort(vars(sys.modules[cls.__module__]).setdefault("__all__", []), cls.__name__)
    return cls


def filled(doc, texts):
    """A docstring with the places ``%(name)s`` filled in; without docstrings an empty one."""
    for name, text in texts.items():
        doc = (doc or "").replace(f"%({name})s", text)
    return doc


def _sections(doc):
    """What comes first in a docstring, and its sections by name."""
    intro, *rest = re.split(r"\n    ([A-Z][\w ]+)\n    -{5,}\n", doc or "")
    return intro, {name: f"{text.rstrip()}\n" for name, text in zip(rest[::2], rest[1::2], strict=True)}


def _entries(section):
    """The entries of a section of parameters by their names."""
    found = re.split(r"^    (?=\S)", section, flags=re.MULTILINE)[1:]
    return {entry.partition(" :")[0]: f"    {entry.rstrip()}\n" for entry in found}
