"""The learning-rate search: a range test, a rule that reads its curve, and short confirmation runs."""
