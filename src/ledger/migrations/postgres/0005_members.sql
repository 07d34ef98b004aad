-- Who is in a group is told of apart from the group itself, as the topic `members`: it moves the figures
-- of teams, and there may be many such changes a second.
CREATE OR REPLACE FUNCTION group_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text := 'group';
BEGIN
    IF TG_OP = 'DELETE' THEN
        new := old;
    ELSIF TG_OP = 'UPDATE' AND old.display_name = new.display_name
        AND old.external_id IS NOT DISTINCT FROM new.external_id THEN
        IF NOT EXISTS (SELECT 1 FROM teams WHERE group_id = new.id) THEN
            RETURN NULL;
        END IF;
        told := 'members';
    END IF;
    INSERT INTO changes (topic, organization_id, name)
    SELECT told, organization_id, replace(new.id::text, '-', '') FROM directories
    WHERE id = new.directory_id AND deleted_at IS NULL
    ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION member_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (topic, organization_id, name)
    SELECT 'members', d.organization_id, replace(up.id::text, '-', '') FROM directories d
    CROSS JOIN (WITH RECURSIVE up (id) AS (
                    SELECT group_id FROM memberships WHERE person_id = old.id
                    UNION SELECT s.group_id FROM up CROSS JOIN LATERAL (
                        SELECT group_id FROM subgroups WHERE member_id = up.id OFFSET 0) s)
                SELECT id FROM up) up
    WHERE d.id = old.directory_id AND d.deleted_at IS NULL
        AND EXISTS (SELECT 1 FROM teams WHERE group_id = up.id)
    ON CONFLICT (topic, organization_id, name) DO UPDATE SET seq = excluded.seq;
    RETURN old;
END $$;
