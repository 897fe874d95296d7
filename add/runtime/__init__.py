"""Parts that every command runs on: options, processes and devices, backends, progress, models named by options."""
