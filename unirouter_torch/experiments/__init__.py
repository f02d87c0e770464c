"""What compares methods: a run, trials, sweeps, stress tests, pretraining."""
