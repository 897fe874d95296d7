import shlex

from add.runtime.next_steps import command_line, next_steps


def test_a_command_can_be_pasted_whatever_its_paths():
    line = command_line("image_sample", model_path="my runs/it's $HOME", num_samples=4)
    assert shlex.split(line) == ["add", "image_sample", "--model_path", "my runs/it's $HOME", "--num_samples", "4"]
    assert command_line("translate", models_dir="runs") == "add translate --models_dir runs"
    assert command_line("evaluate", "my images", "out", seed=1) == "add evaluate 'my images' out --seed 1"


def test_commands_stand_on_lines_of_their_own():
    assert next_steps("add a", "add b") == "what to do next:\n  add a\n  add b"
