"""Stage 1: a generator fine-tuned to a style under the semantic constraint."""
