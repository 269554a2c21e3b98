"""Making cue-conflict stimuli: the shape of one photograph with the texture of another."""
