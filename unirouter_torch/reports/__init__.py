"""Tables, pictures and pages of results that are at hand; nothing is computed here."""
