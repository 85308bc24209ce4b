"""The report of a study: its page, its wording and its figures."""
