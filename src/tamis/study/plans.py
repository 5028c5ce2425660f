"""The built-in plans. A setting that has been published is not changed: it gets a new name."""

from __future__ import annotations

import dataclasses

from tamis.loop import Recipe
from tamis.study.plan import Plan, Setting

PAPER_CELLS = (
    ("none", 0.0),
    ("random_labels", 0.25),
    ("random_labels", 0.5),
    ("shuffled_pixels", 0.25),
    ("shuffled_pixels", 0.5),
    ("gaussian_pixels", 0.25),
    ("gaussian_pixels", 0.5),
)
PAPER_METHODS = (
    "selective_backprop(beta=1)",
    "selective_backprop(beta=2)",
    "importance_sampling(presample=3)",
    "importance_sampling(presample=2)",
)
MORE_METHODS = (
    "selective_backprop_inbatch(keep=0.5)",
    "selective_backprop_inbatch(keep=1/3)",
    "importance_sampling(presample=3, unbiased=True)",
    "top_k(keep=1/3)",
)
FASHION_MLP = Setting("fashion_mnist", "mlp", size=20_000, width=512, epochs=10, seeds=(0, 1, 2, 3, 4))
FASHION_CONVNET = Setting(
    "fashion_mnist", "convnet", size=20_000, width=16, epochs=5, seeds=(0, 1, 2), points=5, step_seconds=0.015
)
CIFAR_RESNET9 = Setting(
    "cifar10_jpeg", "resnet9", size=10_000, width=16, epochs=6, seeds=(0, 1, 2), ladder=(0.5,), points=6,
    watch=2_000, augment=True, step_seconds=0.21,
)  # fmt: skip

GUARDED = "guarded(settle=3, slowing=0.15, wrong=0.5, relook=0.1, floor=0.03, heard=0.5)"
CATALOGUE = (
    "rs2(keep=0.5)",
    "online_batch_selection(pressure=100, refresh=0.1)",
    "top_k(keep=1/3)",
    "ordered_sgd",
    "selective_backprop(beta=1)",
    "selective_backprop(beta=2)",
    "selective_backprop(beta=3)",
    "selective_backprop(beta=1, stale=3)",
    "selective_backprop_inbatch(keep=0.5)",
    "selective_backprop_composer(keep=0.5, start=0.5, end=0.9, interrupt=2, scale=1)",
    "loss_proportional(keep=1/3)",
    "focal(gamma=2)",
    "importance_sampling(presample=3)",
    "importance_sampling(presample=3, unbiased=True)",
    "biased_importance(presample=3, power=0.5)",
    "infobatch(drop=0.5, until=0.875)",
    "batch_loss_score(drop=0.5, until=0.875, momentum=0.7)",
    "rho_loss(keep=0.1, holdout=0.25)",
    "rho_loss(keep=0.1, halves=True, passes=3)",
    "reducr(keep=0.1, holdout=0.25, eta=0.1)",
    "self_paced(start=0.5)",
    "small_loss_selection(forget=0.2, passes=2)",
    "co_teaching(forget=0.2, passes=2)",
    "mixture_filter(family='gaussian', threshold=0.5, warmup=2)",
    "mixture_filter(family='beta', threshold=0.5, warmup=2)",
    "align_prune(drop=0.5, until=0.875)",
    "divbs(keep=0.1)",
    GUARDED,
)

SEPARATORS_COMPARED = (  # ours first: it is repeated on further seeds
    "separate", "separate_one_run", "aum", "aum_threshold", "confident_learning", "self_confidence", "knn_agreement",
    "loss_mixture", "map_d", "ssft",
)  # fmt: skip

GUARD_CELLS = (
    ("none", 0.0),
    ("random_labels_exclusive", 0.2),
    ("random_labels_exclusive", 0.4),
    ("asymmetric_labels", 0.3),
    ("instance_dependent", 0.3),
    *PAPER_CELLS[3:],
)
GUARDED_AND_OTHERS = (
    GUARDED,
    "infobatch(drop=0.5, until=0.875)",
    "rs2(keep=0.5)",
    "rho_loss(keep=0.1, holdout=0.25)",
    "selective_backprop(beta=1)",
    "co_teaching(forget=0.2, passes=2)",
    "small_loss_selection(forget=0.2, passes=2)",
)

NOTHING_HEARD = GUARDED.replace(
    "heard=0.5", "heard=0"
)  # leaves out whom the guard as it is lets learn what was said of them
NOTHING_HEARD_WITHOUT = (
    NOTHING_HEARD,
    NOTHING_HEARD.replace("relook=0.1", "relook=0"),
    NOTHING_HEARD.replace("relook=0.1", "relook=1"),
)
GUARDED_WITHOUT = (  # one part of the guard at a time; the last ones are told the rate: half of it, it, and twice
    GUARDED,
    GUARDED.replace("floor=0.03", "floor=0"),
    GUARDED.replace(")", ", short=100)"),
    *NOTHING_HEARD_WITHOUT,
    *(NOTHING_HEARD.replace(")", f", {told})") for told in ("protect=False", "rate=0.15", "rate=0.3", "rate=0.6")),
)

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            "smoke",
            "Does everything run? scikit-learn's digits, two cells, one seed.",
            (Setting("digits", "mlp", size=0, width=64, epochs=6, seeds=(0, 1), ladder=(0.5,), points=6,
                     recipe=Recipe(batch=32), step_seconds=0.0003),),
            (("none", 0.0), ("random_labels", 0.5)),
            ("selective_backprop(beta=2)", "importance_sampling(presample=3)", "top_k(keep=1/3)"),
        ),
        Plan(
            "quick",
            "The paper's table in a few minutes: Fashion-MNIST, a small network on a part of it.",
            (dataclasses.replace(FASHION_MLP, size=5_000, width=256, epochs=10, seeds=(0, 1, 2), ladder=(0.4, 0.7),
                                 points=10, watch=1_500, step_seconds=0.0025),),
            (("none", 0.0), ("random_labels", 0.25), ("random_labels", 0.5), ("gaussian_pixels", 0.5)),
            (*PAPER_METHODS, "top_k(keep=1/3)"),
        ),
        Plan(
            "table1-fashion",
            "Table 1 of Hu et al. 2021 on Fashion-MNIST: all its cells and methods, and the rules beside them.",
            (FASHION_MLP, FASHION_CONVNET),
            PAPER_CELLS,
            (*PAPER_METHODS, *MORE_METHODS),
        ),
        Plan(
            "crossover",
            "At which share of random labels does each method cross the line?",
            (dataclasses.replace(FASHION_MLP, ladder=(0.5, 0.7)),),
            tuple(("random_labels", rate) for rate in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)),
            (*PAPER_METHODS[:3], "top_k(keep=1/3)"),
            ("uniform",),
        ),
        Plan(
            "table1-cifar10",
            "Table 1 of Hu et al. 2021 on 10,000 images of JPEG-recompressed CIFAR-10 with a small ResNet-9.",
            (CIFAR_RESNET9,),
            PAPER_CELLS,
            PAPER_METHODS,
            note="JPEG-recompressed CIFAR-10: not to be set beside published numbers as equals.",
        ),
        Plan(
            "table1-cifar10-gpu",
            "Table 1 of Hu et al. 2021 on all of CIFAR-10 with a full ResNet-9, for one GPU.",
            (dataclasses.replace(CIFAR_RESNET9, dataset="cifar10", size=0, width=64, epochs=24,
                                 ladder=(0.3, 0.5, 0.7), points=24, seeds=(0, 1, 2, 3, 4), step_seconds=0.012),),
            PAPER_CELLS,
            (*PAPER_METHODS, *MORE_METHODS),
        ),
        Plan(
            "catalogue",
            "Every policy of the catalogue at one cost, on clean data and on three kinds of label noise.",
            (dataclasses.replace(FASHION_MLP, seeds=(0, 1, 2), ladder=(0.5, 1.5), points=5, watch=0),),
            (("none", 0.0), ("random_labels_exclusive", 0.2), ("random_labels_exclusive", 0.4),
             ("asymmetric_labels", 0.3)),
            CATALOGUE,
            unit="cost",
            note="Published settings, but for what a budget of 10 epochs cannot hold: warm-ups of 10 epochs are 2.",
        ),
        *(
            Plan(
                f"guard-{epochs}",
                f"Does guarded training win on noise and lose nothing on clean data? At the cost of {epochs} epochs.",
                (dataclasses.replace(FASHION_MLP, epochs=epochs, ladder=(0.25, 0.5), points=4, watch=0),),
                GUARD_CELLS,
                GUARDED_AND_OTHERS,
                ("uniform", "oracle"),
                unit="cost",
                note="The oracle is plain training on the truly clean examples alone, at the same cost.",
            )
            for epochs in (8, 16)
        ),
        Plan(
            "guard-time",
            "At which cost is guarded training as good as plain training ever gets, and how far does each get?",
            (dataclasses.replace(FASHION_MLP, epochs=16, ladder=(0.25, 0.375, 0.5, 0.75), points=4, watch=0),),
            GUARD_CELLS[:5],
            (GUARDED,),
            ("uniform", GUARDED, "oracle"),
            unit="cost",
        ),
        *(
            Plan(
                name,
                f"What is each part of the guard good for? At the cost of {epochs} epochs.",
                (dataclasses.replace(FASHION_MLP, epochs=epochs, ladder=(), points=4, watch=0),),
                cells,
                methods,
                ("oracle",),
                unit="cost",
            )
            for name, epochs, cells, methods in (
                ("guard-parts", 8, (("none", 0.0), ("random_labels_exclusive", 0.3), *GUARD_CELLS[3:5]),
                 GUARDED_WITHOUT),
                ("guard-parts-16", 16, GUARD_CELLS[2:5], (GUARDED, *NOTHING_HEARD_WITHOUT)),
            )
        ),
        Plan(
            "guard-inputs",
            "Does the guard cost anything where no label is wrong? Clean and damaged inputs, at the cost of 8 epochs.",
            (dataclasses.replace(FASHION_MLP, epochs=8, seeds=tuple(range(30)), ladder=(), points=4, watch=0),),
            (("none", 0.0), *PAPER_CELLS[3:], *(("fifteen_corruptions(severity=5)", rate) for rate in (0.25, 0.5))),
            (GUARDED,),
            ("oracle",),
            unit="cost",
        ),
        *(
            Plan(
                name,
                "Does guarded training need less on clean labels where a network has not learnt all it can? "
                f"At the cost of 1 to 4 epochs, with a learning rate of up to {lr:g}.",
                (dataclasses.replace(FASHION_CONVNET, epochs=4, seeds=(0, 1, 2, 3, 4), points=4, watch=0,
                                     ladder=(0.25, 0.5, 0.75, 0.8, 0.85), recipe=Recipe(lr=lr)),),
                GUARD_CELLS[:1],
                (GUARDED, GUARDED.replace(")", ", drop=0)"), "infobatch(drop=0.5, until=0.875)"),
                ("uniform", GUARDED, GUARDED.replace(")", ", drop=0)"), "infobatch(drop=0.5, until=0.875)"),
                unit="cost",
            )
            for name, lr in (("guard-short", 0.1), ("guard-short-2", 0.2))
        ),
        Plan(
            "guard-digits",
            "Does guarded training win on a set on which nothing was chosen? scikit-learn's digits, 16 epochs.",
            (Setting("digits", "mlp", width=128, epochs=16, seeds=tuple(range(10)), ladder=(0.25, 0.5), points=4,
                     watch=0, recipe=Recipe.scaled(32), step_seconds=0.0003),),
            GUARD_CELLS[:5],
            (GUARDED, *GUARDED_AND_OTHERS[5:]),
            ("uniform", "oracle"),
            unit="cost",
        ),
        Plan(
            "guard-convnet",
            "Does guarded training win with a convolutional network? At the cost of 8 epochs.",
            (dataclasses.replace(FASHION_CONVNET, epochs=8, ladder=(0.25, 0.5), points=4, watch=0),),
            (*GUARD_CELLS[:1], *GUARD_CELLS[2:5], ("gaussian_pixels", 0.5)),
            GUARDED_AND_OTHERS[:5],  # without those that are told the rate
            ("uniform", "oracle"),
            unit="cost",
        ),
        Plan(
            "guard-cifar10",
            "Does guarded training win on pictures in colour? ResNet-9, at the cost of 16 epochs.",
            (dataclasses.replace(CIFAR_RESNET9, epochs=16, ladder=(0.25, 0.5), points=4, watch=0),),
            (("none", 0.0), ("random_labels_exclusive", 0.4), ("asymmetric_labels", 0.3),
             ("instance_dependent", 0.3), ("gaussian_pixels", 0.5)),
            GUARDED_AND_OTHERS[:5],  # without those that are told the rate
            ("uniform", "oracle"),
            unit="cost",
            note="JPEG-recompressed CIFAR-10: not to be set beside published numbers as equals.",
        ),
        Plan(
            "scores",
            "Which difficulty score finds wrong labels? Every score of the catalogue, on three kinds of label noise.",
            (dataclasses.replace(FASHION_MLP, seeds=(0, 1, 2), ladder=(), points=1, watch=0),),
            (("random_labels_exclusive", 0.2), ("random_labels_exclusive", 0.4), ("asymmetric_labels", 0.3)),
            (),
            (),
            scores=True,
        ),
        Plan(
            "separation",
            "Which labels are wrong, and how many? Ours and its peers on the same labels, with their cost.",
            (dataclasses.replace(FASHION_MLP, ladder=(), points=1, watch=0),),
            (("none", 0.0), ("random_labels_exclusive", 0.1), ("random_labels_exclusive", 0.2),
             ("random_labels_exclusive", 0.4), ("asymmetric_labels", 0.2), ("asymmetric_labels", 0.3),
             ("instance_dependent", 0.3)),
            (),
            (),
            separators=SEPARATORS_COMPARED,
            repeats=tuple(range(5, 20)),
            repeated=(("random_labels_exclusive", 0.2), ("random_labels_exclusive", 0.4), ("asymmetric_labels", 0.3),
                      ("instance_dependent", 0.3)),
        ),
        Plan(
            "separation-cifar10",
            "Which labels are wrong, on pictures in colour? No constant was chosen on them.",
            (dataclasses.replace(CIFAR_RESNET9, epochs=10, ladder=(), points=1, watch=0, augment=False),),
            (("random_labels_exclusive", 0.2), ("asymmetric_labels", 0.3), ("none", 0.0), ("instance_dependent", 0.3),
             ("random_labels_exclusive", 0.4)),
            (),
            (),
            separators=("separate", "separate_one_run", "aum", "knn_agreement", "loss_mixture", "map_d", "ssft",
                        "confident_learning"),
            note="JPEG-recompressed CIFAR-10: not to be set beside published numbers as equals.",
        ),
        Plan(
            "separation-smoke",
            "Do all separators run? scikit-learn's digits, two cells, one seed, and another of the first alone.",
            (Setting("digits", "mlp", size=500, width=32, epochs=6, seeds=(0,), ladder=(), points=1, watch=0,
                     recipe=Recipe(batch=32), step_seconds=0.0003),),
            (("none", 0.0), ("random_labels_exclusive", 0.3)),
            (),
            (),
            separators=SEPARATORS_COMPARED,
            repeats=(1,),
            repeated=(("random_labels_exclusive", 0.3),),
        ),
        Plan(
            "paper",
            "The published setting: WideResNet-28-10 on CIFAR-10, 100 epochs, for whoever has the GPU hours.",
            (Setting("cifar10", "wide_resnet", epochs=100, size=0, seeds=(0, 1, 2), ladder=(0.3, 0.5, 0.7),
                     augment=True, points=100, step_seconds=0.15),),
            PAPER_CELLS,
            PAPER_METHODS,
            note="The paper drops its learning rate at epochs 60 and 80; here it falls linearly within every budget.",
        ),
    )
}  # fmt: skip
