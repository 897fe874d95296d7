"""Turn images of one domain into another in N steps, with a soft label for each step, in both directions.

With nothing but --amount, the embedded default is used: held-out patches of stained tissue, and two tiny models.
"""
import dataclasses
import sys
from pathlib import Path

from add.runtime import options


def build_options():
    from add.data.translation import TranslationConfig
    from add.diffusion import DiffusionConfig
    from add.networks import ModelConfig

    return options.Options(__doc__, TranslationConfig, ModelConfig, DiffusionConfig,
                           overrides={"timestep_respacing": "50"})


def directions(config):
    """Return (source number, target number, source model, target model, folder of images) of each direction."""
    from add.data import embedded
    from add.errors import UserError

    models = [config.source_model_path, config.target_model_path]
    folders = [config.data_dir, config.target_data_dir]
    if not any(models):
        models = [str(embedded.model_dir(domain)) for domain in embedded.DOMAINS]
        folders = [folder or str(embedded.source_dir(domain))
                   for folder, domain in zip(folders, embedded.DOMAINS, strict=True)]
    if not all(models):
        raise UserError("one model path was given: expected --source_model_path and --target_model_path, or neither "
                        "for the embedded default")
    wanted = [(config.source, config.target, models[0], models[1], folders[0], "--data_dir"),
              (config.target, config.source, models[1], models[0], folders[1], "--target_data_dir")]
    wanted = {"forward": wanted[:1], "backward": wanted[1:], "both": wanted}[config.direction]
    for *_, folder, flag in wanted:
        if not folder:
            raise UserError(f"no source images for --direction {config.direction}: give {flag} FOLDER, or another "
                            f"--direction (forward, backward, both)")
    return [direction[:5] for direction in wanted]


def main(argv=None):
    parsed = build_options().parse(argv)
    from add.data.translation import TranslationConfig
    from add.runtime.processes import process_group

    config = parsed.take(TranslationConfig)
    wanted = directions(config)
    with process_group(config.device, config.threads) as world:
        for direction in wanted:
            run_direction(parsed, config, direction, world)


def run_direction(parsed, config, direction, world):
    """Translate one folder of images and write everything that belongs to it."""
    from add.data import ImageSet
    from add.data.translation import translate_set, write_run
    from add.runtime.display import EvaluationBar
    from add.runtime.models import load_given, run_facts, sha256
    from add.transition import soft_labels, translate

    number, other, source_path, target_path, data_dir = direction
    labels = soft_labels(config.amount, number, other, config.num_domains)
    # The published defaults: global-priority attention in the forward direction's source model, local in its target.
    forward = number == config.source
    source, source_diffusion, source_config = load_given(
        source_path, parsed, world.device, use_new_attention_order=forward)
    target, target_diffusion, target_config = load_given(
        target_path, parsed, world.device, use_new_attention_order=not forward)
    check_pair(source_config, target_config, config.amount, source_diffusion.num_timesteps)
    images = ImageSet.from_folder(data_dir, source_config.model.image_size, skip_bad=config.skip_bad)
    if config.num_images:
        images = images.subset(range(min(config.num_images, len(images))))
    out = Path(config.out_dir) / f"translation_{number}_{other}"
    settings = {"source_sha256": sha256(source_path), "target_sha256": sha256(target_path), "amount": config.amount,
                "depth_schedule": config.depth_schedule, "feature": config.feature, "sampler": config.sampler,
                "timestep_respacing": parsed.timestep_respacing, "clip_denoised": config.clip_denoised,
                "data_dir": str(Path(data_dir).resolve())}
    bar = EvaluationBar(f"domain {number} to {other}", silent=not world.is_main)
    bar.note(f"translating {len(images)} images of {data_dir} in {config.amount} steps, on {world.device}, "
             f"{world.size} process(es); writing to {out.resolve()}")
    if images.bad:
        bar.note(f"{len(images.bad)} unreadable images left out: " + ", ".join(str(path) for path, _ in images.bad[:5]))

    def translate_batch(x):
        result = translate(
            source, target, x.to(world.device), config.amount, source_diffusion, target_diffusion,
            rule=config.depth_schedule, feature=config.feature, domains=(number, other),
            num_domains=config.num_domains, clip_denoised=config.clip_denoised,
            max_memory=config.max_memory * 1024**3, on_step=bar.add)
        return result, source_diffusion

    folder = translate_set(out, images, translate_batch, labels, (number, other), config, settings, world, bar.note)
    bar.close()
    if world.is_main:
        used = dataclasses.asdict(config) | {"timestep_respacing": parsed.timestep_respacing}
        write_run(folder, run_facts(used, {"source": source_config, "target": target_config}, world.device)
                  | {"sampler": config.sampler})
        bar.note(f"done: {len(images) * config.amount} images, labels.csv, overview.png, run.json in {out.resolve()}")


def check_pair(source, target, amount, num_steps):
    """Refuse models of different image size, and an amount above the number of steps."""
    from add.errors import UserError

    sizes = source.model.image_size, target.model.image_size
    if sizes[0] != sizes[1]:
        raise UserError(f"the source model makes {sizes[0]}-pixel images and the target model {sizes[1]}-pixel ones: "
                        f"expected one size; train both with the same --image_size")
    if amount > num_steps:
        raise UserError(f"--amount {amount} is above the number of steps, {num_steps}: expected 1 to {num_steps}; "
                        f"lower --amount or raise --timestep_respacing")


if __name__ == "__main__":
    sys.exit(options.run(main))
