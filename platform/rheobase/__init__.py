"""Which biological constraints can a spiking network obey and still carry a teacher's latents."""

__version__ = "0.1.0"
