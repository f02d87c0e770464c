"""Tables, pictures and pages of given results; nothing is computed here."""
