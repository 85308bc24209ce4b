"""What one training is: the LightningModule, its loss and metrics, its checkpoints and its logs."""
