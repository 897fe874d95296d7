"""A study is a list of commands: which ones, in which order, and what is not done twice."""
import contextlib
import json
import signal
import sys
import threading

import pytest

from add.commands import compare
from add.commands.compare import StudyConfig, run_study
from add.errors import UserError
from add.study import study_steps
from add.study.study_data import StudyImages
from add.study.study_plan import plan
from add.study.study_steps import Step, execute
from tests.commands.commands import run

DOMAINS = ["mild", "severe"]


def steps_of(tmp_path, **options):
    (tmp_path / "test" / "ends").mkdir(parents=True, exist_ok=True)
    return plan(StudyConfig(out_dir=str(tmp_path), **options), DOMAINS, 50)


def option(step, flag):
    return step.arguments[step.arguments.index(f"--{flag}") + 1]


def test_every_image_is_made_before_it_is_used(tmp_path):
    names = [step.name for step in steps_of(tmp_path)]
    assert names.index("train_severe") < names.index("sample_mild") < names.index("evaluate_samples_mild")
    assert names.index("train_severe") < names.index("translate") < names.index("labels_blend")
    assert names[-1] == "classify" and len(set(names)) == len(names)


def test_only_images_that_a_method_asks_for_are_made(tmp_path):
    assert [step.name for step in steps_of(tmp_path, methods="plain,mixup")] == ["classify"]
    names = [step.name for step in steps_of(tmp_path, methods="flips,unconditional")]
    assert names == ["train_mild", "train_severe", "sample_mild", "sample_severe", "evaluate_samples_mild",
                     "evaluate_samples_severe", "evaluate_training_mild", "evaluate_training_severe",
                     "evaluate_other_mild", "evaluate_other_severe", "classify"]
    names = [step.name for step in steps_of(tmp_path, methods="full", label_rules="depth")]
    assert "translate" in names and not any(name.startswith(("sample", "labels")) for name in names)


def test_a_step_names_the_sets_of_its_size(tmp_path):
    steps = {step.name: step for step in steps_of(tmp_path, train_steps=800)}
    assert option(steps["train_mild"], "data_dir") == str(tmp_path / "n50" / "train" / "mild")
    assert option(steps["train_mild"], "lr_anneal_steps") == "800"
    assert option(steps["evaluate_translation_1_0"], "real_dir") == str(tmp_path / "test" / "ends" / "mild")
    assert option(steps["evaluate_translation_1_0"], "source_dir") == str(tmp_path / "n50" / "train" / "severe")
    for name, domain, images in (("training_mild", "mild", "mild"), ("other_mild", "mild", "severe"),
                                 ("training_severe", "severe", "severe"), ("other_severe", "severe", "mild")):
        assert option(steps[f"evaluate_{name}"], "real_dir") == str(tmp_path / "test" / "ends" / domain)
        assert option(steps[f"evaluate_{name}"], "fake_dir") == str(tmp_path / "n50" / "train" / images)
        assert not steps[f"evaluate_{name}"].needs
    assert option(steps["classify"], "test_dir") == f"ends={tmp_path / 'test' / 'ends'}"
    assert steps["translate"].command.startswith("add translate --amount 10 --path blend ")
    along = {step.name: step for step in steps_of(tmp_path, path="depth")}
    assert option(along["translate"], "path") == "depth"


def test_everything_that_learns_from_real_images_sees_them_turned_alike(tmp_path):
    asked = steps_of(tmp_path, methods="flips,progressive,progan", augment="mirror", label_rules="classifier,power")
    turned = {step.name: option(step, "augment") for step in asked if "--augment" in step.arguments}
    assert turned == dict.fromkeys(["train_mild", "train_severe", "train_progan_mild", "train_progan_severe",
                                    "labels_classifier", "classify"], "mirror")


def test_a_base_model_costs_no_more_steps_in_all(tmp_path):
    steps = {step.name: step for step in steps_of(tmp_path, train_steps=800, unlabelled_dir="between",
                                                  methods="flips,progressive,taught_unlabelled")}
    assert option(steps["train_base"], "data_dir") == "between"
    assert option(steps["train_base"], "lr_anneal_steps") == "800"
    for name in ("train_mild", "train_severe"):
        assert option(steps[name], "lr_anneal_steps") == "400" and option(steps[name], "lr_anneal_start") == "200"
        assert option(steps[name], "init_from") == option(steps["train_base"], "run_dir")
        assert steps[name].needs == ("train_base",)
    assert option(steps["classify"], "unlabelled_dir") == "between" and "train_base" in steps["classify"].needs
    alone = [step.name for step in steps_of(tmp_path, train_steps=800, unlabelled_dir="between",
                                            methods="flips,taught_unlabelled")]
    assert alone == ["classify"]


def test_heads_are_passed_on_and_the_default_leaves_commands_as_they_were(tmp_path):
    assert "--heads" not in steps_of(tmp_path)[-1].arguments
    assert option(steps_of(tmp_path, heads="class,severity")[-1], "heads") == "class,severity"


@pytest.mark.parametrize("options, message", [
    ({"num_train": "fifty"}, "expected numbers"),
    ({"num_train": "1"}, "expected 2 to 10000000 training images"),
    ({"label_rules": "depth,guess"}, "label rule 'guess' is unknown"),
    ({"label_rules": "depth"}, "needs soft labels by the rule classifier"),
    ({"methods": "magic"}, "method 'magic' is unknown"),
    ({"bands": "mild"}, "not understood"),
    ({"unlabelled_dir": "between"}, "train_steps is 0: expected 2 or more with --unlabelled_dir"),
    ({"methods": "flips,taught_unlabelled"}, "needs images of unknown stage"),
    ({"jobs": 0}, "jobs is 0, expected 1 or more"),
])
def test_refusals(options, message):
    with pytest.raises(UserError, match=message):
        StudyConfig(**options)


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What the study runs, in order; nothing is run."""
    seen, status = [], {}

    def execute(name, arguments):
        seen.append(name)
        return status.get(name, 0)

    monkeypatch.setattr(study_steps, "execute", execute)
    monkeypatch.setattr(compare, "prepare_data", lambda *args: (tmp_path / "test" / "ends").mkdir(
        parents=True, exist_ok=True) or StudyImages(DOMAINS, "ends", True, True))
    return seen, status


def test_a_study_of_an_earlier_version_goes_on_where_its_rivals_saw_images_turned_alike(commands, tmp_path):
    """Which had --rival_augment in place of --augment."""
    config = StudyConfig(out_dir=str(tmp_path), methods="flips")
    run_study(config)
    options = json.loads((tmp_path / "study_options.json").read_text())
    del options["augment"]
    (tmp_path / "study_options.json").write_text(json.dumps(options | {"rival_augment": "dihedral"}))
    run_study(config)
    (tmp_path / "study_options.json").write_text(json.dumps(options | {"rival_augment": "flips"}))
    with pytest.raises(UserError, match=r"other options \(rival_augment\)"):
        run_study(config)


def test_a_missing_folder_of_unlabelled_images_leaves_nothing_behind(commands, tmp_path):
    out_dir = tmp_path / "study"
    with pytest.raises(UserError, match="between does not exist"):
        run_study(StudyConfig(out_dir=str(out_dir), train_steps=10, unlabelled_dir=str(tmp_path / "between")))
    assert not out_dir.exists() and not commands[0]


def test_the_same_study_again_does_nothing_twice(commands, tmp_path):
    seen, _ = commands
    config = StudyConfig(out_dir=str(tmp_path), num_train="50", methods="flips,full", label_rules="depth,classifier")
    run_study(config)
    assert seen == ["train", "train", "translate", "soft_labels", *["evaluate"] * 6, "classify"]
    run_study(config)
    assert len(seen) == 11
    done = json.loads((tmp_path / "n50" / "done" / "translate.json").read_text())
    assert done["command"].startswith("add translate ") and done["seconds"] >= 0


def test_a_step_that_an_earlier_version_noted_is_done(commands, tmp_path):
    seen, _ = commands
    config = StudyConfig(out_dir=str(tmp_path), num_train="50", methods="full", label_rules="depth,classifier")
    run_study(config)
    for name, now, before in (("translate", "add translate", "python scripts/frequency_generating_m_samples.py"),
                              ("labels_classifier", "add soft_labels", "python scripts/soft_labels.py")):
        done = tmp_path / "n50" / "done" / f"{name}.json"
        noted = json.loads(done.read_text())
        assert noted["command"].startswith(now)
        done.write_text(json.dumps(noted | {"command": noted["command"].replace(now, before)}))
    count = len(seen)
    run_study(config)
    assert len(seen) == count


def test_more_seeds_run_the_classification_again_alone(commands, tmp_path):
    seen, _ = commands
    run_study(StudyConfig(out_dir=str(tmp_path), num_train="50", methods="flips"))
    run_study(StudyConfig(out_dir=str(tmp_path), num_train="50", methods="flips", num_seeds=9))
    assert seen == ["classify", "classify"]


def test_a_failed_step_stops_the_study_and_is_tried_again(commands, tmp_path):
    seen, status = commands
    status["classify"] = 2
    config = StudyConfig(out_dir=str(tmp_path), num_train="50,60", methods="flips")
    with pytest.raises(UserError, match="the step classify ended with status 2"):
        run_study(config)
    assert seen == ["classify"] and not (tmp_path / "n50" / "done").exists()
    status.clear()
    run_study(config)
    assert seen == ["classify"] * 3


def test_a_folder_of_another_study_is_refused(commands, tmp_path):
    run_study(StudyConfig(out_dir=str(tmp_path), num_train="50", methods="flips"))
    with pytest.raises(UserError, match="another study|other options \\(seed\\)"):
        run_study(StudyConfig(out_dir=str(tmp_path), num_train="50", methods="flips", seed=1))


def test_a_command_can_be_pasted_into_a_shell():
    step = Step("x", "train", ("--data_dir", "a folder"))
    assert step.command == "add train --data_dir 'a folder'"


def test_methods_of_other_papers_get_the_same_images_and_minutes(tmp_path):
    methods = "flips,progan,lofgan,iddpm,mixdl"
    found = {step.name: step for step in steps_of(tmp_path, methods=methods, rival_minutes=3.0, augment="flips")}
    order = list(found)
    for method in ("progan", "mixdl", "iddpm"):
        for domain in DOMAINS:
            train, sample = found[f"train_{method}_{domain}"], found[f"sample_{method}_{domain}"]
            assert option(train, "data_dir") == str(tmp_path / "n50" / "train" / domain)
            assert option(train, "max_minutes") == "3.0" and option(train, "run_dir") == option(sample, "model_path")
            assert order.index(train.name) < order.index(sample.name) < order.index(f"evaluate_{method}_{domain}")
            assert train.script == ("train" if method == "iddpm" else "baseline_train")
            assert option(train, "augment") == "flips"
    assert option(found["train_lofgan"], "augment") == "flips"
    assert option(found["train_lofgan"], "data_dir") == str(tmp_path / "n50" / "train")
    assert option(found["train_lofgan"], "max_minutes") == "6.0"  # both domains at once
    assert option(found["sample_lofgan_mild"], "data_dir") == str(tmp_path / "n50" / "train" / "mild")
    samples = dict(entry.split("=") for entry in option(found["classify"], "samples_dir").split(","))
    assert samples == {name: str(tmp_path / "n50" / name / "samples") for name in methods.split(",")[1:]}
    assert not {"train_mild", "translate", "sample_mild"} & set(order)
    assert set(order) == {step.name for step in steps_of(tmp_path, methods=methods)}


@contextlib.contextmanager
def interruptible():
    """Let SIGINT raise KeyboardInterrupt, which a shell's background job ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# Several at a time

ALL_METHODS = "flips,unconditional,full,progressive,progan,lofgan,mixdl,iddpm"


def test_every_step_needs_those_whose_images_it_takes(tmp_path):
    """By the folders that commands write and read: whatever names another's output needs it, at one remove or more."""
    steps = {step.name: step for step in steps_of(tmp_path, methods=ALL_METHODS)}

    def before(step):
        return set(step.needs).union(*(before(steps[name]) for name in step.needs))

    outputs = {name: option(step, "run_dir" if "--run_dir" in step.arguments else "out_dir")
               for name, step in steps.items() if step.script != "soft_labels"}
    for name, step in steps.items():
        read = [word.split("=")[-1] for value in step.arguments for word in value.split(",")]
        for other, output in outputs.items():
            if other != name and any(path.startswith(output) or output.startswith(path + "/") for path in read
                                     if path.startswith(str(tmp_path / "n50")) and path != outputs.get(name)):
                assert other in before(step), (name, other)
    labels = [name for name in steps if name.startswith("labels_")]
    assert labels and set(labels) < before(steps["classify"])
    assert all(a in before(steps[b]) for a, b in zip(labels, labels[1:], strict=False))  # they share a folder


def test_a_command_may_save_after_an_interrupt(tmp_path, monkeypatch):
    script, saved = tmp_path / "slow.py", tmp_path / "saved"
    monkeypatch.setattr(study_steps, "PROGRAM", (sys.executable, str(script)))
    script.write_text("import pathlib, sys, time; time.sleep(1.5); pathlib.Path(sys.argv[2]).touch()")
    main = threading.main_thread().ident
    with interruptible(), pytest.raises(KeyboardInterrupt):
        threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        execute("slow", [str(saved)])
    assert saved.exists()


def test_a_study_runs_this_package_whatever_lies_in_the_folder(tmp_path, monkeypatch, capfd):
    (tmp_path / "add").mkdir()
    (tmp_path / "add" / "__main__.py").write_text("print('another program')")
    (tmp_path / "typing.py").write_text("raise ImportError('not the standard one')")
    monkeypatch.chdir(tmp_path)
    assert execute("--version", []) == 0
    assert capfd.readouterr().out.startswith("add ")


def test_a_study_can_be_prepared_for_a_cluster(commands, tmp_path, capsys):
    """Nothing runs; the workflow names every step, and the command that starts it is printed."""
    seen, _ = commands
    assert run("compare", "--out_dir", tmp_path, "--num_train", 50, "--methods", "full", "--label_rules",
               "depth,classifier", "--prepare_only", "True") == 0
    assert seen == []
    found = json.loads((tmp_path / "workflow.json").read_text())
    assert [row["rule"] for row in found["steps"]][:3] == ["n50_train_mild", "n50_train_severe", "n50_translate"]
    said = capsys.readouterr().out
    assert "snakemake -s " in said and "--executor slurm" in said and str(tmp_path / "workflow.json") in said
