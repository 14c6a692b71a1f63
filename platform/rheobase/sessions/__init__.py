"""What was recorded: readers, the planted session, quality."""
