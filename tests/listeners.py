"""Listeners of tests."""


class Silent:
    """Hears of a study's progress and does nothing."""

    def stage(self, name, detail):
        pass

    def teacher_progress(self, step, num_steps, values):
        pass

    def teacher_ended(self):
        pass

    def trial_started(self, request):
        pass

    def trial_progress(self, trial_id, step, values):
        pass

    def trial_ended(self, record):
        pass
