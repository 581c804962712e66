"""Two KServe processes: the predictor runs the networks, the transformer turns images into lines."""
