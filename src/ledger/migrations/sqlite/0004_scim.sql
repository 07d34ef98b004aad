-- SCIM in full: groups in groups, and what people and groups are found by.

-- Groups that are members of groups of their directory. They may form a loop: who walks along them
-- remembers where they were (UNION, never UNION ALL).
CREATE TABLE subgroups (
    group_id  BLOB NOT NULL REFERENCES directory_groups ON DELETE CASCADE,
    member_id BLOB NOT NULL REFERENCES directory_groups ON DELETE CASCADE,
    PRIMARY KEY (group_id, member_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX subgroups_of_member ON subgroups (member_id);

-- Every address of a person, with ASCII in lower case. Kept by the triggers below.
CREATE TABLE addresses (
    directory_id BLOB NOT NULL,
    address      TEXT NOT NULL,
    person_id    BLOB NOT NULL REFERENCES people ON DELETE CASCADE,
    PRIMARY KEY (directory_id, address, person_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_of_person ON addresses (person_id);
INSERT OR IGNORE INTO addresses (directory_id, address, person_id)
    SELECT p.directory_id, lower(json_extract(e.value, '$.value')), p.id
    FROM people p, json_each(p.attributes, '$.emails') e
    WHERE e.type = 'object' AND json_type(e.value, '$.value') = 'text';
CREATE TRIGGER addresses_of_new_person AFTER INSERT ON people
BEGIN
    INSERT OR IGNORE INTO addresses (directory_id, address, person_id)
    SELECT new.directory_id, lower(json_extract(e.value, '$.value')), new.id
    FROM json_each(new.attributes, '$.emails') e
    WHERE e.type = 'object' AND json_type(e.value, '$.value') = 'text';
END;
CREATE TRIGGER addresses_of_changed_person AFTER UPDATE OF attributes ON people
WHEN json_extract(old.attributes, '$.emails') IS NOT json_extract(new.attributes, '$.emails')
BEGIN
    DELETE FROM addresses WHERE person_id = new.id;
    INSERT OR IGNORE INTO addresses (directory_id, address, person_id)
    SELECT new.directory_id, lower(json_extract(e.value, '$.value')), new.id
    FROM json_each(new.attributes, '$.emails') e
    WHERE e.type = 'object' AND json_type(e.value, '$.value') = 'text';
END;

-- A displayName is looked for without regard to the case of ASCII letters.
CREATE INDEX directory_groups_found_by_name
    ON directory_groups (directory_id, display_name COLLATE NOCASE);
