-- Who is in a group is told of apart from the group itself, as the topic `members`: it moves the figures
-- of teams, and there may be many such changes a second.
DROP TRIGGER group_changed;
CREATE TRIGGER group_changed AFTER UPDATE ON directory_groups
WHEN old.display_name <> new.display_name OR old.external_id IS NOT new.external_id
    OR EXISTS (SELECT 1 FROM teams WHERE group_id = new.id)
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT CASE WHEN old.display_name = new.display_name AND old.external_id IS new.external_id
            THEN 'members' ELSE 'group' END,
        organization_id, lower(hex(new.id))
    FROM directories WHERE id = new.directory_id AND deleted_at IS NULL;
END;
DROP TRIGGER member_changed;
CREATE TRIGGER member_changed AFTER UPDATE OF active ON people WHEN old.active <> new.active
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'members', d.organization_id, lower(hex(up.id)) FROM directories d
    JOIN (WITH RECURSIVE up (id) AS (
              SELECT group_id FROM memberships WHERE person_id = new.id
              UNION SELECT s.group_id FROM up JOIN subgroups s ON s.member_id = up.id)
          SELECT id FROM up) up
    WHERE d.id = new.directory_id AND d.deleted_at IS NULL
        AND EXISTS (SELECT 1 FROM teams WHERE group_id = up.id);
END;
DROP TRIGGER member_gone;
CREATE TRIGGER member_gone BEFORE DELETE ON people WHEN old.active = 1
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'members', d.organization_id, lower(hex(up.id)) FROM directories d
    JOIN (WITH RECURSIVE up (id) AS (
              SELECT group_id FROM memberships WHERE person_id = old.id
              UNION SELECT s.group_id FROM up JOIN subgroups s ON s.member_id = up.id)
          SELECT id FROM up) up
    WHERE d.id = old.directory_id AND d.deleted_at IS NULL
        AND EXISTS (SELECT 1 FROM teams WHERE group_id = up.id);
END;
