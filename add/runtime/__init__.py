"""What every command runs in: options, processes and devices, backends, progress, and the models that options name."""
