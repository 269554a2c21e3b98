"""Shape bias on cue-conflict stimuli: decisions, scores and records, beside humans and published models."""
