"""What several commands share: options of a translation and its run, samples, training runs, point sets."""
