-- Images by $column, the lowest first
SELECT id, $column FROM $images
WHERE $column IS NOT NULL ORDER BY $column, id LIMIT $most;
