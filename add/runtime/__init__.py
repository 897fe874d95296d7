"""Options, process groups, devices and progress: what scripts share around the package."""
