"""The table of generators: which numbers stand where, and what is left out."""
from add.study.study_tables import COMPARED, generator_lines


def measured(level):
    """Return what evaluate.py writes, every metric at `level`, and at twice that on all images."""
    return {"metrics": {name: {"fake": 2 * level, "fake_at_count": level if name != "diversity" else None,
                               "real": 0.5} for name in COMPARED}}


def found():
    metrics = {"progan_mild": measured(1.0), "progan_severe": measured(3.0), "lofgan_mild": measured(7.0)}
    metrics |= {f"other_{domain}": measured(4.0) for domain in ("mild", "severe")}
    accuracy = {"mean": 0.9, "difference": [0.01, -0.02, 0.04]}
    error = {"mean": 0.1, "difference": [-0.03, -0.04, -0.02]}
    steps = {"train_progan_mild": 100.0, "train_progan_severe": 120.0, "sample_progan_mild": 2.0,
             "sample_progan_severe": 3.0, "train_mild": 999.0}
    progan = {"accuracy": accuracy, "severity_rmse_linked": error}
    return {"classification": {"settings": {"domains": ["mild", "severe"]},
                               "tests": {"all": {"progan": progan}, "ends": {}}},
            "metrics": metrics, "steps": {name: {"seconds": seconds} for name, seconds in steps.items()}}


def test_rows_are_means_over_domains():
    """Half-measured generators and those that were not asked for have no row."""
    lines = [line for line in generator_lines(found()) if line.startswith("|")]
    header, _, progan, other, real = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    row = dict(zip(header, progan, strict=True))
    assert row["generator"] == "progan" and row["KID"] == row["coverage"] == "2"
    assert row["perceptual diversity"] == "4"  # of all images, as it has no number at a count
    assert (row["seconds to train"], row["seconds to make"]) == ("220", "5")
    assert row["gained"] == "+0.0100 [-0.0200, +0.0400]"
    assert row["error gained"] == "-0.0300 [-0.0400, -0.0200]"
    assert real[0] == "real" and real[1] == "0.5" and real[-1] == ""
    row = dict(zip(header, other, strict=True))
    assert row["generator"] == "other" and row["KID"] == "4"
    assert row["copies (pixels)"] == row["seconds to train"] == row["gained"] == ""  # what real images don't have


def test_the_strongest_method_gained_nothing():
    study = found()
    study["classification"]["tests"]["all"]["progan"]["accuracy"] = {"mean": 0.9}
    assert generator_lines(study)[4].endswith("|  | -0.0300 [-0.0400, -0.0200] |")


def test_a_study_of_an_earlier_version_has_no_error_gained():
    study = found()
    del study["classification"]["tests"]["all"]["progan"]["severity_rmse_linked"]
    assert generator_lines(study)[4].endswith("| +0.0100 [-0.0200, +0.0400] |  |")


def test_a_study_of_one_seed_has_no_interval():
    study = found()
    study["classification"]["tests"]["all"]["progan"]["accuracy"]["difference"] = [0.01, None, None]
    assert generator_lines(study)[4].endswith("| +0.0100 | -0.0300 [-0.0400, -0.0200] |")
