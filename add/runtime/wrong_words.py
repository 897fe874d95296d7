"""What an unknown option was meant to be: by common words of other programs, else by its spelling."""
import difflib
from collections.abc import Collection, Iterable

_STEPS = ("max_steps", "train_steps", "classifier_steps", "decode_steps", "timestep_respacing")
_READ = ("data_dir", "real_dir", "base_samples", "dataset")
_WRITTEN = ("out_dir", "run_dir")
_MODEL = ("model_path", "source_model_path", "target_model_path", "init_from")
_COUNT = ("num_samples", "num_images", "max_images", "num_train")
_SIZE = ("image_size", "large_size", "size")
HINTS: dict[str, tuple[str, ...]] = {  # a word: the options that may be meant, of which a command has some
    **dict.fromkeys(("epochs", "num_epochs", "n_epochs", "max_epochs", "iterations", "num_iterations", "max_iter",
                     "num_train_steps", "total_steps"), ("max_steps", "train_steps", "classifier_steps")),
    **dict.fromkeys(("steps", "num_steps", "n_steps", "sampling_steps", "num_inference_steps"), ("amount", *_STEPS)),
    **dict.fromkeys(("gpu", "gpus", "gpu_id", "gpu_ids", "num_gpus", "cuda", "cpu", "mps", "no_cuda", "accelerator"),
                    ("device",)),
    **dict.fromkeys(("batch", "bs", "bsz", "batchsize", "train_batch_size", "mini_batch_size"), ("batch_size",)),
    **dict.fromkeys(("lr_rate", "learning_rate", "learningrate", "rate"), ("lr",)),
    **dict.fromkeys(("output", "out", "o", "output_dir", "output_path", "outdir", "out_path", "out_dir", "save_dir",
                     "save_path", "results_dir", "log_dir", "logdir", "run_dir", "experiment", "dest"), _WRITTEN),
    **dict.fromkeys(("input", "i", "input_dir", "in_dir", "input_path", "image_dir", "img_dir", "image_path", "images",
                     "data", "data_path", "data_root", "dataroot", "data_dir", "dataset", "dataset_path", "train_data",
                     "train_data_dir", "folder", "path", "source_dir", "src"), _READ),
    **dict.fromkeys(("model", "checkpoint", "checkpoint_path", "ckpt", "ckpt_path", "weights", "model_dir",
                     "model_file", "pretrained", "pretrained_model", "load", "load_from"), _MODEL),
    **dict.fromkeys(("size", "resolution", "res", "img_size", "imgsize", "image_size", "tile_size"), _SIZE),
    **dict.fromkeys(("n", "num", "count", "number", "samples", "n_samples", "nsamples", "num_images", "num_samples",
                     "limit"), _COUNT),
    **dict.fromkeys(("workers", "num_workers", "n_jobs", "num_threads", "cores", "cpus"), ("threads", "jobs")),
    **dict.fromkeys(("fp16", "bf16", "half", "amp", "mixed_precision", "dtype"), ("precision", "use_fp16")),
    **dict.fromkeys(("resume", "resume_from", "continue", "resume_from_checkpoint"), ("resume_checkpoint",)),
    **dict.fromkeys(("random_seed", "manual_seed", "rng_seed", "random_state"), ("seed",)),
    **dict.fromkeys(("save_every", "save_steps", "checkpoint_interval", "checkpointing_steps"), ("save_interval",)),
    **dict.fromkeys(("log_every", "logging_steps", "print_freq"), ("log_interval",)),
    **dict.fromkeys(("ema", "ema_decay"), ("ema_rate",)),
    **dict.fromkeys(("wd", "decay"), ("weight_decay",)),
    **dict.fromkeys(("num_classes", "classes", "class_conditional", "conditional"), ("class_cond", "domains")),
    **dict.fromkeys(("scheduler", "solver", "method"), ("sampler", "method")),
}


def unknown_message(what: str, name: str, known: Collection[str]) -> str:
    """Return the message for an unknown option or key.

    Args:
        what: "option" or "key". name: as it was given, with its dashes. known: names without dashes.
    """
    dashes = "--" if what == "option" else ""
    word = name.lstrip("-–—").replace("-", "_")  # pages turn two hyphens into a dash
    if what == "option" and name[:1] not in "-–—" and word not in known and word.lower() not in HINTS:
        return (f"{name} stands alone: expected the name of an option before it, --OPTION {name}; --help lists them, "
                f"and a value or pattern with spaces or stars goes in quotes")
    meant = [option for option in HINTS.get(word.lower(), ()) if option in known and option != word]
    if word in known:
        meant = [word]
    if meant:
        counted = ", and steps are epochs x images / batch size" * ("epochs" in word and what == "option")
        return f"unknown {what} {name}: here it is {' or '.join(f'{dashes}{option}' for option in meant)}{counted}"
    close = nearest(word, known)
    return f"unknown {what} {name}: " + (f"did you mean {dashes}{close}?" if close else "--help lists the known ones")


def nearest(name: str, known: Iterable[object]) -> str:
    """Return the known word that is spelled most like a name, or "" where none is."""
    return "".join(difflib.get_close_matches(name, [str(word) for word in known], n=1))
