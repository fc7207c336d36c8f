-- Expected calibration error
SELECT sum(abs(top - correct)) / sum(pixels) AS ece FROM (
  SELECT sum(pixels) AS pixels, sum(top_sum) AS top,
         sum(if(truth = predicted, pixels, 0)) AS correct
  FROM 'calibration/*.parquet' GROUP BY bin
);
