"""Looking without computing: before a run (doctor, preflight) and after it (verify)."""
