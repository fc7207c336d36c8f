-- Images by $group
SELECT $value AS value, count(*) AS images, count(*) FILTER (status <> 'ok') AS failed,
       avg(confidence_mean) AS confidence
FROM $images GROUP BY 1 ORDER BY 1;
