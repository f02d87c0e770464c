"""Measuring an LLM over an endpoint: ask it the calibration prompts, grade its answers, within a budget."""
