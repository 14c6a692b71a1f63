"""What a recording holds, as frozen records."""
