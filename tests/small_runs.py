"""Settings with which the bundled workflows run in seconds, as `NODE.INPUT=VALUE`, by the workflow's name."""

from __future__ import annotations

SMALL_RUNS: dict[str, tuple[str, ...]] = {
    "stylise_a_photo": (),
    "several_faces_in_one_photo": ("Invert by Optimisation.steps=3",),
    "multimodal_grid": ("Style Variations.count=2",),
    "reference_guided": ("Encode Reference Style.steps=2", "Reference: rendered.size=128"),
    "video_frames": (),
    "diffusion_redraw_faces": ("Detect & Align Faces.size=128",),
    "diffusion_controlnet": ("Detect & Align Faces.size=128",),
    "diffusion_inpaint_around_faces": ("Detect & Align Faces.size=128",),
    "finetune_a_style_and_use_it": (
        "Fine-tune Generator.steps=2",
        "Fine-tune Generator.batch_size=2",
        "Style pictures: rendered.count=4",
        "Style pictures: rendered.size=64",
    ),
    "fast_stylizer_on_a_photo": (),
    "full_recipe": (
        "Stage 1.steps=1",
        "Stage 1.batch_size=2",
        "Style pictures: rendered.count=2",
        "Style pictures: rendered.size=64",
        "Make Pseudo-Pairs.count=2",
        "Stage 2.steps=1",
        "Stage 2.batch_size=1",
        "Stage 2.settings=free_batch_size = 1\ndiscriminator_alone = 0",
    ),
    "train_a_fast_stylizer": (
        "Make Pseudo-Pairs.count=2",
        "Train Fast Stylizer.steps=1",
        "Train Fast Stylizer.size=48",
        "Train Fast Stylizer.batch_size=1",
        "Preview Pairs.per_row=1",
    ),
    "export_pairs_for_lora": ("Make Pseudo-Pairs.count=2", "Style pictures: rendered.count=2"),
}
