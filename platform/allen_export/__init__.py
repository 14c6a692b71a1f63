"""Allen Visual Behavior Neuropixels through the AllenSDK, in an environment of its own."""

__version__ = "0.1.0"
