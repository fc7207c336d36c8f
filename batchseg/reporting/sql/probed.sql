-- Brier score and negative log likelihood, over the probed pixels
SELECT sum(brier * probed_pixels) / sum(probed_pixels) AS brier,
       sum(nll * probed_pixels) / sum(probed_pixels) AS nll
FROM $images;
