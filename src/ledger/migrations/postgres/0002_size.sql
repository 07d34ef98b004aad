-- How many bytes a directory holds, to which whoever writes adds the difference; and an organization by
-- all of its directories, however many they are.
ALTER TABLE directories ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE organizations ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;
UPDATE directories SET bytes =
    (SELECT coalesce(sum(500 + octet_length(attributes) + active::int), 0)
     FROM people WHERE directory_id = directories.id)
    + (SELECT coalesce(sum(500 + octet_length(attributes)), 0)
       FROM directory_groups WHERE directory_id = directories.id)
    + 100 * (SELECT count(*) FROM memberships m JOIN directory_groups g ON g.id = m.group_id
             WHERE g.directory_id = directories.id)
    + 100 * (SELECT count(*) FROM subgroups WHERE directory_id = directories.id);
UPDATE organizations SET bytes =
    (SELECT coalesce(sum(bytes), 0) FROM directories WHERE organization_id = organizations.id);
CREATE FUNCTION directory_grew() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations SET bytes = bytes + new.bytes - old.bytes WHERE id = new.organization_id;
    RETURN NULL;
END $$;
CREATE TRIGGER directory_grew AFTER UPDATE OF bytes ON directories
FOR EACH ROW EXECUTE FUNCTION directory_grew();
CREATE FUNCTION directory_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE organizations SET bytes = bytes - old.bytes WHERE id = old.organization_id;
    RETURN NULL;
END $$;
CREATE TRIGGER directory_gone AFTER DELETE ON directories
FOR EACH ROW EXECUTE FUNCTION directory_gone();
