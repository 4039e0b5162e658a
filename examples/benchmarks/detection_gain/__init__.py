"""Measure what synthetic slices are worth to a detector that is trained with and without them."""
