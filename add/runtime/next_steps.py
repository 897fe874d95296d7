"""Commands to go on with, as they are typed, for the last lines of a command."""
import shlex


def command_line(name: str, *words: object, **options: object) -> str:
    """Return a command with its options, quoted for a shell, such as `add image_sample --model_path runs/mild`.

    Args:
        words: those that stand before the options, such as the folders of `add evaluate REAL FAKE`.
    """
    line = ["add", name, *map(str, words)]
    for option, value in options.items():
        line += [f"--{option}", str(value)]
    return shlex.join(line)


def next_steps(*commands: str) -> str:
    """Return the lines that offer commands as what to do next."""
    return "\n".join(["what to do next:", *(f"  {command}" for command in commands)])
