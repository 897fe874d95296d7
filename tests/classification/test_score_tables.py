"""Tables of a comparison: what is said beside the numbers."""
from add.classification.score_tables import explanations, summarise, table


def test_notes_stand_below_the_tables_and_results_of_earlier_versions_have_none():
    summary = summarise({"flips": [{"accuracy": 0.8}], "full": [{"accuracy": 0.9}]}, ["flips"])
    result = {"tests": {"ends": summary}, "num_images": {"ends": 70}}
    assert table(result | {"notes": ["a", "b"]}) == table(result) + "\n- a\n- b\n"
    assert table(result | {"notes": []}) == table(result)


def test_grading_has_a_table_of_its_own():
    """Errors of 0.3, 0.2 and 0.1: the strongest without generated images is mixup, by the linked error."""
    by_method = {name: [{"accuracy": 0.8, "severity_spearman": 0.9, "severity_rmse_linked": error,
                         "severity_rmse_linked_middle": error / 2}]
                 for name, error in (("flips", 0.3), ("mixup", 0.2), ("full", 0.1))}
    result = {"tests": {"all": summarise(by_method, ["flips", "mixup"])}, "num_images": {"all": 70}}
    lines = table(result).splitlines()
    classes, grading = (lines.index(line) for line in lines if line.startswith("| method"))
    assert lines[classes] == "| method | accuracy | accuracy gained |"
    assert lines[grading] == ("| method | severity_spearman | severity_rmse_linked | severity_rmse_linked_middle | "
                              "error gained |")
    assert lines[grading + 2:grading + 5] == [
        "| flips | 0.9000 | 0.3000 | 0.1500 | +0.1000 vs mixup |", "| mixup | 0.9000 | 0.2000 | 0.1000 | (strongest) |",
        "| full | 0.9000 | 0.1000 | 0.0500 | -0.1000 vs mixup |"]


def test_scores_are_explained_once_behind_all_tables():
    by_method = {"flips": [{"accuracy": 0.8, "nll": 0.3}]}
    result = {"tests": {name: summarise(by_method, ["flips"]) for name in ("ends", "all")},
              "num_images": {"ends": 70, "all": 70}}
    assert table(result) == table(result, explained=False) + "\n" + "\n".join(explanations([result]))
    assert table(result).count("- accuracy: larger is better") == 1 and "- auc:" not in table(result)


def test_ensembles_have_a_table_of_their_own():
    by_method = {"flips": [{"accuracy": 0.8, "macro_f1": 0.7}] * 2, "full": [{"accuracy": 0.9, "macro_f1": 0.7}] * 2}
    ensembles = {"flips": {"accuracy": 0.85, "macro_f1": 0.1}, "full": {"accuracy": 0.95, "macro_f1": 0.2}}
    result = {"tests": {"ends": summarise(by_method, ["flips"], ensembles)}, "num_images": {"ends": 70}}
    lines = table(result).splitlines()
    first = lines.index("| method | accuracy |")
    assert lines[first - 2].startswith("Test set ends: the 2 classifiers of each method as one")
    assert lines[first + 2:first + 4] == ["| flips | 0.8500 |", "| full | 0.9500 |"]
    assert "as one" not in table({**result, "tests": {"ends": summarise(by_method, ["flips"])}})


def test_intervals_over_groups_stand_beside_the_ensembles():
    by_method = {"flips": [{"accuracy": 0.8}] * 2, "full": [{"accuracy": 0.9}] * 2}
    ensembles = {"flips": {"accuracy": 0.85}, "full": {"accuracy": 0.95}}
    summary = summarise(by_method, ["flips"], ensembles, {"flips": {"accuracy": (0.7, 0.9)}, "full": {}})
    text = table({"tests": {"ends": summary}, "num_images": {"ends": 70}})
    assert "| flips | 0.8500 (0.700 to 0.900) |" in text and "| full | 0.9500 |" in text
    assert "in brackets 95 % intervals over the groups of test images" in text
