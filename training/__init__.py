"""What learns: losses, the one training loop, few-shot fine-tuning, inversion.

Progress, previews and interruption reach this package as callbacks (`loop.Callbacks`); it knows neither the nodes nor
ComfyUI. Random choices come from a `torch.Generator` made from a setting's `seed`; the global one is never touched.
"""
