"""Time and memory of a training step: guided-diffusion's loop and ours, same network, batch and images in memory.

python benchmarks/training_speed.py --guided_diffusion PATH    (prints Markdown tables; minutes)

PATH is your own checkout of github.com/openai/guided-diffusion; nothing of it is copied or fetched. It runs its own
TrainLoop.run_step (EMA, optimiser, sampler and logging included) on its own network, ours Trainer.advance, both with
the window of ten steps that a status line covers. Every contender has a process of its own, so that peaks of resident
memory are its own, and they take turns, so that what else the machine does falls on all alike. The network is that of
the embedded models of 22 November 2026 unless told otherwise; the prediction is epsilon, the loss the plain squared
error, the EMA rate 0.9999 for all.

Ratios are medians over rounds of the same round's times. CPU seconds count the work of all threads, and tell more than
the clock where other work shares the machine.

The gradients of both loops are compared as well: the same weights, images, timesteps and noise.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CONTENDERS = {"guided-diffusion": "guided-diffusion's loop", "ours": "ours", "compiled": "ours, --compile"}
LOG_INTERVAL = 10
MODEL_OPTIONS = ("image_size", "num_channels", "num_res_blocks", "channel_mult", "attention_resolutions", "num_heads")
LR, EMA_RATE = 1e-4, 0.9999


# Contenders, each in a process of its own. Torch is imported there only: the parent's memory must not count.


def model_config(args):
    from add.networks import ModelConfig

    return ModelConfig(**{name: getattr(args, name) for name in MODEL_OPTIONS})


def make_stream(args):
    """Return an endless stream of batches of the embedded gland patches, from memory."""
    from add.data import BatchStream, ImageSet, embedded

    images = ImageSet.from_folder(embedded.train_dir("gland"), args.image_size)
    return BatchStream(images, args.batch_size, seed=0)


def make_trainer(args, folder, compile):
    """Return our Trainer."""
    import dataclasses

    import torch

    from add.diffusion import DiffusionConfig
    from add.networks import create_model
    from add.runtime.processes import World
    from add.training import TrainConfig, Trainer
    from add.training.learning_tasks import Denoising
    from add.training.run_folder import RunFolder

    config = TrainConfig(batch_size=args.batch_size, microbatch=args.microbatch, lr=LR, ema_rate=str(EMA_RATE),
                         compile=compile, num_preview=0, tensorboard=False, device="cpu", threads=args.threads)
    torch.manual_seed(0)
    model = create_model(**dataclasses.asdict(model_config(args)))
    task = Denoising(model_config(args), DiffusionConfig())
    return Trainer(task, model, make_stream(args), config, RunFolder(folder), World())


def make_loop(args, folder, **changes):
    """Return guided-diffusion's TrainLoop."""
    sys.path.insert(0, args.guided_diffusion)
    import torch
    from guided_diffusion import dist_util, logger, script_util, train_util

    os.environ.setdefault("OPENAI_LOG_FORMAT", "log,csv")
    logger.configure(dir=folder)
    dist_util.setup_dist()
    options = script_util.model_and_diffusion_defaults() | {name: getattr(args, name) for name in MODEL_OPTIONS}
    torch.manual_seed(0)
    model, diffusion = script_util.create_model_and_diffusion(**options)
    settings = {"model": model, "diffusion": diffusion, "data": ((x, {}) for x, _ in make_stream(args))} | changes
    return train_util.TrainLoop(
        **settings, batch_size=args.batch_size, microbatch=args.microbatch, lr=LR, ema_rate=str(EMA_RATE),
        log_interval=LOG_INTERVAL, save_interval=10**9, resume_checkpoint="")


def our_window(args, folder, compile=False):
    """Return a function that trains LOG_INTERVAL steps and sums them up, as Trainer.run does."""
    from add.training.loop import keep_freed_memory
    from add.training.running_means import Window

    keep_freed_memory()
    trainer = make_trainer(args, folder, compile)

    def train():
        window = Window(trainer.task.diffusion.num_timesteps)
        for _ in range(LOG_INTERVAL):
            window.add(*trainer.advance())
        window.summary(trainer.world)

    return train


def their_window(args, folder):
    """Return a function that trains LOG_INTERVAL steps and logs them, as TrainLoop.run_loop does."""
    from guided_diffusion import logger

    loop = make_loop(args, folder)

    def train():
        for _ in range(LOG_INTERVAL):
            loop.run_step(*next(loop.data))
            loop.step += 1
        logger.dumpkvs()

    return train


def peak_mib():
    """Return the largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def serve(args):
    """Train a window for each line of standard input; answer with JSON lines."""
    import torch

    torch.set_num_threads(args.threads)
    answers, sys.stdout = sys.stdout, sys.stderr  # the logger prints
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, args.guided_diffusion)
        if args.contender == "guided-diffusion":
            train = their_window(args, folder)
        else:
            train = our_window(args, folder, compile=args.contender == "compiled")
        before = peak_mib()
        for _ in sys.stdin:
            start, cpu_start = time.perf_counter(), time.process_time()
            train()
            taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu_start}
            answer = {name: value / LOG_INTERVAL for name, value in taken.items()}
            print(json.dumps(answer | {"peak": peak_mib(), "before": before}), file=answers, flush=True)


def compare_gradients(args):
    """Print how far the gradients of both loops differ: same weights, images, timesteps and noise."""
    import functools

    import torch

    from add.training.step_randomness import draw_noise, draw_timesteps

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(args, folder, compile=False)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():  # layers that start at zero would hide differences
            for p in trainer.parameters:
                p.add_(0.02 * torch.randn(p.shape, generator=generator))
        x, _ = next(make_stream(args))
        t, weights = draw_timesteps(trainer.sampler, len(x), trainer.world, trainer.config.seed, trainer.step)
        noise = draw_noise(x.shape, trainer.config.seed, trainer.step, 0, x.device)
        trainer.gradients()

        class SameTimesteps:
            def sample(self, batch_size, device):
                return t, weights

        args.microbatch = -1
        loop = make_loop(args, folder, schedule_sampler=SameTimesteps())
        loop.model.load_state_dict(trainer.model.state_dict())
        loop.diffusion.training_losses = functools.partial(loop.diffusion.training_losses, noise=noise)
        loop.forward_backward(x, {})
    theirs = {name: p.grad for name, p in loop.model.named_parameters()}
    ours = {name: p.grad for name, p in trainer.model.named_parameters()}
    norms = [torch.stack([g.double().norm() for g in grads.values()]).norm() for grads in (theirs, ours)]
    apart = torch.stack([(ours[name] - theirs[name]).double().norm() for name in ours]).norm()
    print(f"Gradient norm of the same batch: guided-diffusion {norms[0]:.6f}, ours {norms[1]:.6f}, relative difference "
          f"{abs(norms[1] / norms[0] - 1):.1e}; norm of the difference of the gradients {apart / norms[0]:.1e} of it.")


# The parent


def start(args, contender):
    """Return the process of a contender."""
    command = [sys.executable, __file__, *sys.argv[1:], "--contender", contender]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process):
    """Let a contender train one window; return its answer."""
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit("a contender ended before it answered; its message stands above")
    return json.loads(line)


def compare_speed(args, contenders):
    """Print the table of times and peaks."""
    processes = {name: start(args, name) for name in contenders}
    answers = {name: [] for name in contenders}
    try:
        for round in range(args.warmup + args.rounds):
            order = contenders if round % 2 == 0 else contenders[::-1]
            for name in order:
                answer = ask(processes[name])
                if round >= args.warmup:
                    answers[name].append(answer)
    finally:
        for process in processes.values():
            process.stdin.close()
            process.wait()
    print(f"{args.rounds} rounds of {LOG_INTERVAL} steps each, batch {args.batch_size}, {args.threads} thread(s)\n\n"
          "| loop | s / step, median | quartiles | times as fast | CPU s / step | times less CPU | peak MiB | of it "
          "before the first step |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    first = answers[contenders[0]]
    for name in contenders:
        seconds, cpu = ([answer[key] for answer in answers[name]] for key in ("seconds", "cpu"))
        low, middle, high = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else seconds * 3
        faster, less = (statistics.median(a[key] / b[key] for a, b in zip(first, answers[name], strict=True))
                        for key in ("seconds", "cpu"))
        print(f"| {CONTENDERS[name]} | {middle:.3f} | {low:.3f} to {high:.3f} | {faster:.2f} | "
              f"{statistics.median(cpu):.3f} | {less:.2f} | {answers[name][-1]['peak']:.0f} | "
              f"{answers[name][-1]['before']:.0f} |")


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--guided_diffusion", required=True, help="your checkout of openai/guided-diffusion")
    parser.add_argument("--rounds", type=int, default=10, help="rounds that are measured, ten steps each")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before them")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each contender")
    parser.add_argument("--compile", action="store_true", help="also measure ours with torch.compile")
    parser.add_argument("--batch_size", type=int, default=16, help="images per step")
    parser.add_argument("--microbatch", type=int, default=-1, help="images per forward pass; -1: the whole batch")
    parser.add_argument("--image_size", type=int, default=64, help="pixels")
    parser.add_argument("--num_channels", type=int, default=32, help="base number of channels")
    parser.add_argument("--num_res_blocks", type=int, default=1, help="residual blocks per level")
    parser.add_argument("--channel_mult", default="1,1,2,2", help="channel multipliers, finest first")
    parser.add_argument("--attention_resolutions", default="16,8", help="feature map sizes with attention, in pixels")
    parser.add_argument("--num_heads", type=int, default=4, help="attention heads")
    parser.add_argument("--contender", choices=[*CONTENDERS, "gradients"], help=argparse.SUPPRESS)
    return parser


def main():
    args = build_parser().parse_args()
    args.guided_diffusion = os.path.abspath(args.guided_diffusion)
    if not os.path.isfile(os.path.join(args.guided_diffusion, "guided_diffusion", "train_util.py")):
        sys.exit(f"error: {args.guided_diffusion} holds no guided_diffusion/train_util.py: expected a checkout of "
                 f"openai/guided-diffusion; give its path")
    if args.contender == "gradients":
        return compare_gradients(args)
    if args.contender:
        return serve(args)
    compare_speed(args, [name for name in CONTENDERS if name != "compiled" or args.compile])
    print("\n" + start(args, "gradients").communicate()[0].strip())


if __name__ == "__main__":
    main()
