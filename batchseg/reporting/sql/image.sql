-- Every image, the lowest $column first
SELECT id, mean_iou, accuracy, confidence_mean, suspect_fraction, truth_probability_p05
FROM $images ORDER BY $column NULLS LAST, id;
