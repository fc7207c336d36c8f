-- Truths that look wrong, the worst first
SELECT id, suspect_fraction, truth_probability_p05 FROM $images
WHERE suspect_fraction > 0 ORDER BY suspect_fraction DESC, id LIMIT $most;
