"""Classifiers with and without generated images, and the soft labels that they learn from or give.

Read in this order: `labelled_images`, `mixing`, `heads` (what a network says and is taught), `classifier` (networks and
their training), `classifier_methods` (what each method trains on), `classifier_runs` (every method and seed), `scores`
and `grading` (classes, and places between them), `score_reads` and `score_tables`; `label_rules` and `label_quality`
are about soft labels.
"""
