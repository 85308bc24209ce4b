"""Helpers without a topic of their own: errors, files, the parser, the console, warnings."""
