"""Weights and adapters: transformers and peft, and nothing patched."""
