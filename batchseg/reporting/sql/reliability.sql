-- The reliability diagram
SELECT bin, sum(pixels) AS pixels, sum(top_sum) / sum(pixels) AS confidence,
       sum(if(truth = predicted, pixels, 0)) / sum(pixels) AS accuracy
FROM 'calibration/*.parquet' GROUP BY bin ORDER BY bin;
