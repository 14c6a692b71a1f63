"""Which biological constraints can a spiking network obey and still carry a teacher's latents."""

import os

__version__ = "0.1.0"

# Unless told otherwise, MKL picks the kernel of a small matrix by how many lie in the batch: on
# some AMD processors a replicate's last digit then depends on what it is packed with.
os.environ.setdefault("MKL_CBWR", "AUTO")
