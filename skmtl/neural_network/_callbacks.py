"""Callbacks of scikit-learn, where it has them (1.9 or later)."""

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:

    class _NoContext:
        """Tells nobody."""

        def call_on_fit_task_begin(self, **_):
            """Nothing to call."""

        def call_on_fit_task_end(self, **_):
            """Nothing to call; go on."""
            return False

        def subcontext(self, **_):
            """The same."""
            return self

    class CallbackSupportMixin:
        """The part of the interface that a fit needs."""

        def _init_callback_context(self, **_):
            return _NoContext()


__all__ = ["CallbackSupportMixin"]
