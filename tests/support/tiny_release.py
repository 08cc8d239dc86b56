"""A repo of released models of a few hundred weights."""

from pathlib import Path

import torch

from mss.core.registry import resolve
from mss.core.types import AudioSpec
from mss.release.package import save_package
from mss.release.repo import Repo

SPEC = AudioSpec(("drums", "vocals"), samplerate=8000, channels=2)


def make_repo(root: Path) -> Path:
    """Make a tiny hdemucs (the default), a tiny openunmix, another hdemucs, and a bag of both."""
    repo = Repo(root)
    names = []
    with torch.random.fork_rng():
        for seed, (arch, signature) in enumerate(
            [("hdemucs", "aaaa1111"), ("openunmix", "bbbb2222"), ("hdemucs", "aaaa3333")]
        ):
            torch.manual_seed(seed)
            model = resolve("model", arch).tiny(SPEC)
            scores = {"nsdr/demo/test": {"drums": 1.0, "vocals": 4.0, "mean": 2.5}}
            path = save_package(model, root, arch=arch, signature=signature, scores=scores)
            names.append(repo.add(path).name)
    (root / "both.yaml").write_text(f"members: [{names[0]}, {names[2]}]\n")
    return root
