"""Parts that several commands share: options, domains and classes, translations, samples, training runs, point sets."""
