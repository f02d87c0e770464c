"""From a prompt to cluster probabilities: encoder, head, and the router that holds them."""
