"""A whole comparison on one data set: its images, the commands to run, and the report of what they found.

Read in this order: `study_data`, `study_plan`, `study_steps`, `study_tables`, `study_plots`, `study_report`.
"""
