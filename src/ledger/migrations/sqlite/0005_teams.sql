-- Teams: which groups they may stand for, what was removed of them, tokens that are rotated, and
-- whom a change of a group concerns.

-- Which groups teams may stand for: patterns, JSON.
ALTER TABLE directories ADD COLUMN globs TEXT NOT NULL DEFAULT '{}';
-- The last request for a new token that was met.
ALTER TABLE directories ADD COLUMN rotation TEXT;
-- When a token that was rotated out ends; NULL: not before another takes its place.
ALTER TABLE directory_tokens ADD COLUMN ends_at INTEGER;

-- Imported teams that were let go: what counts for the limits on removals.
CREATE TABLE removals (
    directory_id BLOB    NOT NULL REFERENCES directories ON DELETE CASCADE,
    team         TEXT    NOT NULL, -- the UID of the DirectoryTeam
    removed_at   INTEGER NOT NULL,
    approved     INTEGER NOT NULL CHECK (approved IN (0, 1)), -- 1: by somebody, so that it counts no more
    PRIMARY KEY (directory_id, team)
) STRICT, WITHOUT ROWID;

-- A group or who counts in it changed: a change of the topic `group`, by the group's id. Who joins or
-- leaves a group changes its version; the groups that it is in are not told (one write can change
-- the versions of many, and a walk up from each would take longer than a write may).
CREATE TRIGGER group_made AFTER INSERT ON directory_groups
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'group', organization_id, lower(hex(new.id)) FROM directories
    WHERE id = new.directory_id AND deleted_at IS NULL;
END;
CREATE TRIGGER group_changed AFTER UPDATE ON directory_groups
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'group', organization_id, lower(hex(new.id)) FROM directories
    WHERE id = new.directory_id AND deleted_at IS NULL;
END;
CREATE TRIGGER group_gone AFTER DELETE ON directory_groups
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'group', organization_id, lower(hex(old.id)) FROM directories
    WHERE id = old.directory_id AND deleted_at IS NULL;
END;
CREATE TRIGGER member_changed AFTER UPDATE OF active ON people WHEN old.active <> new.active
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'group', d.organization_id, lower(hex(up.id)) FROM directories d
    JOIN (WITH RECURSIVE up (id) AS (
              SELECT group_id FROM memberships WHERE person_id = new.id
              UNION SELECT s.group_id FROM up JOIN subgroups s ON s.member_id = up.id)
          SELECT id FROM up) up
    WHERE d.id = new.directory_id AND d.deleted_at IS NULL;
END;
CREATE TRIGGER member_gone BEFORE DELETE ON people WHEN old.active = 1
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'group', d.organization_id, lower(hex(up.id)) FROM directories d
    JOIN (WITH RECURSIVE up (id) AS (
              SELECT group_id FROM memberships WHERE person_id = old.id
              UNION SELECT s.group_id FROM up JOIN subgroups s ON s.member_id = up.id)
          SELECT id FROM up) up
    WHERE d.id = old.directory_id AND d.deleted_at IS NULL;
END;
