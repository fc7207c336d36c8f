-- Mean of $column over the images
SELECT avg($column) AS value FROM $images;
