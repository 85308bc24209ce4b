"""Replicas: networks that differ only in seed and learning rate, trained side by side as one stacked network."""
