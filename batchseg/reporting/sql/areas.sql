-- What was predicted, with truth or without
SELECT predicted AS class_id, sum(pixels) AS predicted_pixels,
       sum(pixels) / sum(sum(pixels)) OVER () AS share
FROM 'pixels/*.parquet' WHERE predicted IS NOT NULL
GROUP BY predicted ORDER BY predicted_pixels DESC;
