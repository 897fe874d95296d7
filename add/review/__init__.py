"""A blinded reading of generated and real images by experts: the page that asks, and what the answers say.

`make`: `reading_items` chooses and orders the images, `reading_page` writes the page, `reading_key` the truth.
`score`: `reading_answers` reads what readers sent, `agreement` and `reading_scores` count it, `reviewed_labels` makes
labels of it, and `reading_report` and `reading_plot` say it.
"""
