-- Truths that look wrong: probed pixels where the model is sure of another class
WITH thresholds AS (
  SELECT truth AS class_id, sum(truth_sum) / sum(pixels) AS threshold
  FROM 'calibration/*.parquet' GROUP BY truth
), suspects AS (
  SELECT id, sum(pixels) AS pixels
  FROM 'calibration/*.parquet' JOIN thresholds ON predicted = class_id
  WHERE truth <> predicted AND top_sum >= threshold * pixels GROUP BY id
)
SELECT id, pixels / probed_pixels AS suspect_fraction, truth_probability_p05
FROM suspects JOIN $images AS images USING (id)
ORDER BY suspect_fraction DESC;
