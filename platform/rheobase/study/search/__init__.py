"""What runs next: the schedule, the space, what samplers see and propose."""
