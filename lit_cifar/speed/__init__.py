"""Everything that only makes training faster. Without it, training gives the same results, more slowly."""
