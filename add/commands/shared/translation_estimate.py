"""What a translation will take: time, memory and disk, as lines for the user."""
from collections.abc import Sequence

from add.commands.shared.directions import Direction, find_unfinished
from add.networks import KINDS
from add.runtime.cost_lines import count_parameters, evaluation_seconds, work_lines
from add.runtime.world import World

RECORD_BYTES = 1000  # of a source image's record, at most


def describe_costs(directions: Sequence[Direction], world: World) -> str:
    """Return the lines that say what Directions will take, measured on a few evaluations; nothing is written.

    All processes call it together.
    """
    config, shares = directions[0].config, [find_unfinished(direction, world) for direction in directions]
    parameters = {facts["path"]: count_parameters(KINDS["classifier" if role == "classifier" else "image"](
        **facts["model"])) for direction in directions for role, facts in direction.checkpoints.items()}
    wanted = sum(len(direction.images) for direction in directions)
    spent = sum(len(direction.images) * (there * encode + back * decode) for direction, seconds in zip(
        directions, model_seconds(directions, world), strict=True) for (there, back), (encode, decode) in zip(
            direction.evaluations, seconds, strict=True))
    evaluations = sum(direction.cost * len(direction.images) for direction in directions) / wanted
    return work_lines(world, parameters=sum(parameters.values()), batch_size=config.batch_size, wanted=wanted,
                      batch_seconds=spent / wanted, evaluations=round(evaluations),
                      left=wanted - sum(share.finished for share in shares),
                      image_bytes=max(map(image_bytes, directions)))


def model_seconds(directions: Sequence[Direction], world: World) -> list[list[tuple[float, float]]]:
    """Return, for each domain of each Direction, the seconds of a batch's evaluation in encoding and in decoding.

    The last domain's decoding may be guided.
    """
    known: dict[tuple[int, bool], float] = {}

    def measured(direction, model, gradient=None):
        key = id(model), gradient is not None
        if key not in known:
            size = direction.images.image_size
            known[key] = evaluation_seconds(model, (3, size, size), world.device, direction.config.batch_size, gradient)
        return known[key]

    def of_models(direction):
        *others, last = direction.models
        plain = [(measured(direction, model),) * 2 for model in others]
        return [*plain, (0.0, measured(direction, last, direction.guidance.get("cond_fn")))]

    return [of_models(direction) for direction in directions]


def image_bytes(direction: Direction) -> int:
    """Return the bytes on the disk that a source image's results take at most, with --save_npy its arrays as well."""
    pixels, amount = 3 * direction.images.image_size**2, direction.folder.amount
    arrays = 3 * amount * pixels + 4 * pixels if direction.config.save_npy else 0  # latents twice, targets, the source
    return amount * pixels + arrays + RECORD_BYTES
