-- Brier score and negative log likelihood, over the probed pixels of the images that have them
SELECT sum(brier * probed_pixels) / sum(probed_pixels) FILTER (brier IS NOT NULL) AS brier,
       sum(nll * probed_pixels) / sum(probed_pixels) FILTER (nll IS NOT NULL) AS nll
FROM $images;
