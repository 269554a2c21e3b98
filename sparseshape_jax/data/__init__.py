"""Images from folders and data sets: the protocol, decoding, augmentation, batches."""
