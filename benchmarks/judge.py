"""A stroma-or-gland classifier trained on held-out patches, to judge translations with.

The diffusion models never saw these patches (they lie right of the line that bounds the training part of the
section), and the source images of the embedded default are left out of the classifier's training set.
"""
import torch
from torch import nn
from torch.nn import functional as F

from add.data import ImageSet, embedded, to_model_input
from add.data.transforms import augment

STEPS, BATCH_SIZE = 300, 32


def read(folder):
    """Return (x float32 [n, 3, 64, 64] in [-1, 1], names) of a folder's images."""
    images = ImageSet.from_folder(folder, 64)
    return to_model_input(images.batch(range(len(images)))), [str(path).rsplit("/", 1)[-1] for path in images.paths]


def held_out(domain):
    """Return x [n, 3, 64, 64] of a domain's held-out patches that are no embedded sources."""
    sources = set(read(embedded.source_dir(domain))[1])
    x, names = read(embedded.test_dir(domain))
    return x[[i for i, name in enumerate(names) if name not in sources]]


def build_classifier():
    """Return a small convolutional network, x [B, 3, H, W] -> logit of gland [B]."""
    layers, width = [], 3
    for channels in (16, 32, 64):
        layers += [nn.Conv2d(width, channels, 3, stride=2, padding=1), nn.GroupNorm(4, channels), nn.SiLU()]
        width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 1), nn.Flatten(0))


def train_classifier(seed=0, mixup=False):
    """Return a classifier trained on the held-out patches, and its accuracy on the 900 training patches.

    Args:
        mixup: train on blends of two patches with blended labels (arXiv:1710.09412, Beta(1, 1)), so that the
            probability grades instead of switching.
    """
    patches = [held_out(domain) for domain in embedded.DOMAINS]
    x = torch.cat(patches)
    y = torch.cat([torch.full((len(part),), float(label)) for label, part in enumerate(patches)])
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = build_classifier()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-3)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH_SIZE,), generator=generator)
        images, labels = augment(x[chosen], generator, "dihedral"), y[chosen]
        if mixup:
            share = torch.rand(BATCH_SIZE, generator=generator)
            order = torch.randperm(BATCH_SIZE, generator=generator)
            images = share[:, None, None, None] * images + (1 - share[:, None, None, None]) * images[order]
            labels = share * labels + (1 - share) * labels[order]
        loss = F.binary_cross_entropy_with_logits(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    right = [((probability(model, read(embedded.train_dir(domain))[0]) > 0.5) == bool(label)).float()
             for label, domain in enumerate(embedded.DOMAINS)]
    return model, torch.cat(right).mean().item()


@torch.no_grad()
def probability(model, x):
    """Return the probability of gland [B] of x [B, 3, H, W] in [-1, 1]."""
    return torch.cat([model(part).sigmoid() for part in x.split(64)])
