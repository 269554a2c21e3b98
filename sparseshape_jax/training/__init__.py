"""What any training run needs: the loop, checkpoints, the log, optimizers and schedules."""
