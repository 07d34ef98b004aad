-- Who was removed from a directory is known by their subject for as long as that directory is kept,
-- so that nobody who was removed comes in as one whom no directory ever had.

-- The directory that the person is in, or was before they were removed from it.
ALTER TABLE identities ADD COLUMN directory_id UUID REFERENCES directories ON DELETE CASCADE;
UPDATE identities SET directory_id = (SELECT directory_id FROM people WHERE id = person_id);
CREATE INDEX identities_of_directory ON identities (directory_id);

-- The identity of a removed person stays, so nothing but this ends their sessions.
CREATE FUNCTION person_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM sessions WHERE identity_id IN (SELECT id FROM identities WHERE person_id = old.id);
    UPDATE identities SET person_id = NULL WHERE person_id = old.id;
    RETURN old;
END $$;
CREATE TRIGGER person_removed BEFORE DELETE ON people
FOR EACH ROW EXECUTE FUNCTION person_removed();
