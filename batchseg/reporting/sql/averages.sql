-- Boundaries and objects, averaged over the images
SELECT $columns
FROM $images;
