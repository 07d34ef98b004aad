-- Whose directory a group in a group is of: so they are counted without looking at all its groups.
ALTER TABLE subgroups ADD COLUMN directory_id BLOB NOT NULL DEFAULT x'';
UPDATE subgroups
SET directory_id = (SELECT directory_id FROM directory_groups WHERE id = group_id);
CREATE INDEX subgroups_of_directory ON subgroups (directory_id);
