"""Callbacks of scikit-learn, from 1.9 on: told of the steps of a fit, they show, score or stop it."""

from contextlib import contextmanager

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # nobody can listen

    class CallbackSupportMixin:
        """In its place."""


class StepsMixin(CallbackSupportMixin):
    """Tells callbacks, those of the estimator or of a search around it, of every step of its fit."""

    @contextmanager
    def _steps(self, name, X, y, **metadata):
        """A function to be called after every step, which says whether to stop; None where nobody listens.

        It is given a function of no arguments that returns the attributes which make a copy of the estimator
        the model of that step.
        """
        if not {"_skl_callbacks", "_parent_callback_ctx"} & vars(self).keys():
            yield None
            return
        given = {name: value for name, value in metadata.items() if value is not None}
        inputs = {"estimator": self, "X": X, "y": y, "metadata": given}
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(**inputs)

        def after(attributes):
            step = context.subcontext(task_name=name)
            step.call_on_fit_task_begin(**inputs)
            return step.call_on_fit_task_end(reconstruction_attributes=attributes, **inputs)

        yield after
        context.call_on_fit_task_end(reconstruction_attributes={}, **inputs)
