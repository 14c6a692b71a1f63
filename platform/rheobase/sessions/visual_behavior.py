"""What the design and the files of Allen Visual Behavior Neuropixels promise."""

# Allen Institute, Visual Behavior Neuropixels technical white paper; names are those that the
# AllenSDK writes.

STRIDE_S, FLASH_S = 0.75, 0.25
"""From one flash's onset to the next one's: an image of 250 ms, then grey for 500 ms."""
ACTIVE_BLOCK, PASSIVE_BLOCK = 0, 5
"""Numbers of the block in which the mouse does the task, and of its passive replay."""
IMAGE_SET = "Natural_Images_Lum_Matched_set_ophys_G_2019"
"""One of the sets of images; its table of presentations is named after it."""

PRESENTATIONS = "_presentations"
"""How the name of a table of presentations ends, below ``intervals``."""
IMAGE_NAME = "image_name"
"""Column of such a table: gabors and full-field flashes have none."""
IS_CHANGE, IS_OMITTED, IS_ACTIVE = "is_change", "omitted", "active"
STIMULUS_BLOCK = "stimulus_block"
PEAK_CHANNEL = "peak_channel_id"
"""Column of the units: the electrode on which a unit is largest."""
ELECTRODES = "general/extracellular_ephys/electrodes"
RUNNING = "processing/running/speed"
"""The wheel's speed in cm/s."""
EYE = "acquisition/EyeTracking"
PUPIL, LIKELY_BLINK = f"{EYE}/pupil_tracking", f"{EYE}/likely_blink"

NUM_SESSIONS, NUM_NORMAL_SESSIONS = 153, 103
"""Sessions of the release, and those without abnormalities."""
MEAN_UNITS, MEAN_GOOD_UNITS = 2_085, 785
"""Units of a session, and those that pass the `allen` preset: means over the release."""
SESSION_S, BLOCK_S = 2.6 * 3600, 3600.0
"""Length of a session; of its active block, and of the passive replay: an hour each."""
NWB_BYTES = 2_000_000_000
"""Size of a session's file."""
MOST_SPIKES = NWB_BYTES // 16
"""Most spikes that such a file can hold: each has a time and an amplitude of 8 bytes."""
TYPICAL_RATE_HZ = MOST_SPIKES / MEAN_UNITS / SESSION_S
"""Spikes a second of a unit, where nothing is known of a recording but its shapes."""
