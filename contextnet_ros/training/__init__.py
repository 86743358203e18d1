"""Data sets, augmentation, the training loop and scoring."""
