"""Training classifiers with Top-K inside: settings, schedules, the step, checkpoints, reports, the job."""
