"""Images: sources, splits, batches, augmentation, corruptions and normalization."""
