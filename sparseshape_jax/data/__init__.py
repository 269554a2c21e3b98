"""Images, folders and stimuli: from files to arrays in [0, 1]."""
