-- Every image, the lowest $column first
SELECT id, $columns
FROM $images ORDER BY $column NULLS LAST, id;
