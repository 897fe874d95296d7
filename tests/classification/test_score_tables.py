"""Tables of a comparison: what is said beside the numbers."""
from add.classification.score_tables import summarise, table


def test_notes_stand_below_the_tables_and_results_of_earlier_versions_have_none():
    summary = summarise({"flips": [{"accuracy": 0.8}], "full": [{"accuracy": 0.9}]}, ["flips"])
    result = {"tests": {"ends": summary}, "num_images": {"ends": 70}}
    assert table(result | {"notes": ["a", "b"]}) == table(result) + "\n- a\n- b\n"
    assert table(result | {"notes": []}) == table(result)
