-- Distribution of $column
SELECT least(floor($column * 1000)::INT, 999) // $width AS bin, count(*) AS images
FROM $images WHERE $column IS NOT NULL
GROUP BY 1 ORDER BY 1;
