-- Times are seconds since the Unix epoch. Ids of people, groups, directories and tokens are UUIDs
-- as 16 bytes.

-- Which installation key this ledger was made with; the key itself is never here.
CREATE TABLE installation (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    key_check BLOB NOT NULL
) STRICT;

CREATE TABLE organizations (
    id   TEXT NOT NULL PRIMARY KEY, -- the annotation rollcall.dev/organization-id, else the namespace's UID
    name TEXT UNIQUE                -- the namespace; NULL once another organization has the name
) STRICT, WITHOUT ROWID;

-- What changed, for the other side to see. Only the newest change of a thing is kept, under a
-- number that is never used again.
CREATE TABLE changes (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic           TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    name            TEXT NOT NULL,
    UNIQUE (topic, organization_id, name) ON CONFLICT REPLACE
) STRICT;

-- Claims to domains. Any organization may claim and prove a name; one of them owns it.
CREATE TABLE domains (
    organization_id TEXT    NOT NULL REFERENCES organizations ON DELETE CASCADE,
    domain          TEXT    NOT NULL, -- canonical: lower case, A-labels, no trailing dot
    claimed_at      INTEGER NOT NULL,
    proved_at       INTEGER,          -- when the present proof was first seen; NULL: no proof
    seen_at         INTEGER,          -- when it was last seen
    missing_since   INTEGER,          -- the first definite absence since then
    missed_at       INTEGER,          -- the last one that counted
    absences        INTEGER NOT NULL DEFAULT 0,
    lost            TEXT,             -- why the last proof ended, where one did
    owns            INTEGER NOT NULL DEFAULT 0 CHECK (owns IN (0, 1)),
    PRIMARY KEY (organization_id, domain),
    CHECK (owns = 0 OR proved_at IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX domains_owner ON domains (domain) WHERE owns = 1;

-- The last good metadata of each connection. It may have expired since it was kept.
CREATE TABLE connections (
    organization_id TEXT    NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    source          TEXT    NOT NULL, -- where the metadata was read from
    metadata        BLOB    NOT NULL, -- SAML metadata as it came
    fetched_at      INTEGER NOT NULL,
    request         TEXT,             -- the last request to fetch it again that was met
    withdrawn       INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)), -- 1: nobody signs in by it
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE directories (
    id               BLOB    NOT NULL PRIMARY KEY,
    organization_id  TEXT    NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name             TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    first_request_at INTEGER, -- the first request with the right token
    changed_at       INTEGER, -- the last change of people or groups
    deleted_at       INTEGER, -- no token, no access; kept for a directory made again
    UNIQUE (organization_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE directory_tokens (
    id           BLOB    NOT NULL PRIMARY KEY,
    directory_id BLOB    NOT NULL REFERENCES directories ON DELETE CASCADE,
    hash         BLOB    NOT NULL, -- SHA-256 of 256 random bits
    created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX directory_tokens_of ON directory_tokens (directory_id);

CREATE TABLE people (
    id            BLOB    NOT NULL PRIMARY KEY,
    directory_id  BLOB    NOT NULL REFERENCES directories ON DELETE CASCADE,
    user_name     TEXT    NOT NULL,
    user_name_key TEXT    NOT NULL, -- userName in lower case: it is unique without regard to case
    external_id   TEXT,
    email         TEXT,             -- the primary one, in lower case
    active        INTEGER NOT NULL CHECK (active IN (0, 1)),
    active_since  INTEGER NOT NULL, -- when `active` last changed
    attributes    TEXT    NOT NULL, -- the SCIM resource as the IdP sent it, without id, meta and groups
    version       INTEGER NOT NULL DEFAULT 1,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    UNIQUE (directory_id, user_name_key)
) STRICT;
CREATE INDEX people_external_id ON people (directory_id, external_id);
CREATE INDEX people_email ON people (directory_id, email);

CREATE TABLE directory_groups (
    id           BLOB    NOT NULL PRIMARY KEY,
    directory_id BLOB    NOT NULL REFERENCES directories ON DELETE CASCADE,
    display_name TEXT    NOT NULL, -- not unique: an IdP may have two of a name
    external_id  TEXT,
    attributes   TEXT    NOT NULL, -- the SCIM resource as the IdP sent it, without id, meta and members
    version      INTEGER NOT NULL DEFAULT 1,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX directory_groups_display_name ON directory_groups (directory_id, display_name);
CREATE INDEX directory_groups_external_id ON directory_groups (directory_id, external_id);

CREATE TABLE memberships (
    group_id  BLOB NOT NULL REFERENCES directory_groups ON DELETE CASCADE,
    person_id BLOB NOT NULL REFERENCES people ON DELETE CASCADE,
    PRIMARY KEY (group_id, person_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_of_person ON memberships (person_id);

CREATE TABLE teams (
    organization_id TEXT    NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    directory_id    BLOB    NOT NULL REFERENCES directories ON DELETE CASCADE,
    selector        TEXT    NOT NULL, -- how the team names its group; the group below is pinned to it
    group_id        BLOB    REFERENCES directory_groups ON DELETE SET NULL,
    accepted        INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX teams_of_group ON teams (group_id);
CREATE INDEX teams_of_directory ON teams (directory_id);

-- Who did what, when. Written in the transaction that does it.
CREATE TABLE audit (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    at              INTEGER NOT NULL,
    organization_id TEXT    NOT NULL,
    actor           TEXT    NOT NULL, -- scim:<directory>
    action          TEXT    NOT NULL, -- user.create, group.patch, ...
    subject         TEXT    NOT NULL, -- the id of the person or group
    detail          TEXT
) STRICT;
