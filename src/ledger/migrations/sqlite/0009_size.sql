-- How many bytes a directory holds: whoever writes to it adds the difference.
ALTER TABLE directories ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE directories SET bytes =
    (SELECT coalesce(sum(500 + octet_length(attributes) + active), 0)
     FROM people WHERE directory_id = directories.id)
    + (SELECT coalesce(sum(500 + octet_length(attributes)), 0)
       FROM directory_groups WHERE directory_id = directories.id)
    + 100 * (SELECT count(*) FROM memberships m JOIN directory_groups g ON g.id = m.group_id
             WHERE g.directory_id = directories.id)
    + 100 * (SELECT count(*) FROM subgroups WHERE directory_id = directories.id);
