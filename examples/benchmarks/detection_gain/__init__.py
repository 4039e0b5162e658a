"""What synthetic slices are worth to a detector: it is trained with them and without."""
