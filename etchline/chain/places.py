"""Names of the files that links hand on; without any import, so that light links stay light."""

BUNDLE, TRAINING, FIRST = "bundle", "training", "first"
"""Folders in what `finetune` leaves: the calibrated bundle, the runs, the weights that it began with."""
REPORT, PAGE = "report.json", "report.html"
"""What `evaluate` leaves of each model."""
NO_CHAMPION = "first_deployment"
"""A file that says that there is no champion, so that its absence is never taken for that."""
