"""`make demo`: the main job on one machine, end to end, with real servers around it."""
