"""Samples -> a trained adapter, exactly and fast."""
