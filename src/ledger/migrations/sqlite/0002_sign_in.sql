-- Signing in: connections and whom they let in, sessions and what hangs on them, keys.

-- What the controller publishes of connections can be rebuilt from the API at any time, and nobody
-- has signed in by one yet.
DROP TABLE connections;

CREATE TABLE connections (
    organization_id   TEXT    NOT NULL REFERENCES organizations ON DELETE CASCADE,
    name              TEXT    NOT NULL,
    -- the last good metadata; it may have expired since it was kept
    source            TEXT    NOT NULL, -- where it was read from
    issuer            TEXT    NOT NULL, -- the SAML entity id or the OIDC issuer
    metadata          BLOB    NOT NULL, -- SAML metadata or the OIDC discovery document, as it came
    fetched_at        INTEGER NOT NULL,
    request           TEXT,             -- the last request to fetch it again that was met
    -- whom it lets in; written after the metadata
    withdrawn         INTEGER NOT NULL DEFAULT 1 CHECK (withdrawn IN (0, 1)), -- 1: nobody signs in by it
    class             TEXT    NOT NULL DEFAULT '', -- the IdentityClass that serves the organization
    admit             TEXT    NOT NULL DEFAULT 'DirectoryOnly',
    directory_id      BLOB    REFERENCES directories ON DELETE SET NULL,
    match             TEXT    NOT NULL DEFAULT 'userName',
    email_attribute   TEXT,
    name_attribute    TEXT,
    idp_initiated     INTEGER NOT NULL DEFAULT 0 CHECK (idp_initiated IN (0, 1)),
    session_seconds   INTEGER NOT NULL DEFAULT 0,
    private_endpoints INTEGER NOT NULL DEFAULT 0 CHECK (private_endpoints IN (0, 1)),
    client_id         TEXT,             -- OIDC alone, like the two that follow
    client_secret     BLOB,             -- sealed
    scopes            TEXT,             -- separated by spaces
    last_sign_in_day  INTEGER,          -- days since the Unix epoch
    PRIMARY KEY (organization_id, name)
) STRICT, WITHOUT ROWID;

-- The domains whose people a connection signs in. They count only while the organization owns them.
CREATE TABLE connection_domains (
    organization_id TEXT NOT NULL,
    domain          TEXT NOT NULL,
    connection      TEXT NOT NULL,
    PRIMARY KEY (organization_id, domain),
    FOREIGN KEY (organization_id, connection) REFERENCES connections (organization_id, name)
        ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX connection_domains_by_name ON connection_domains (domain);
CREATE INDEX connection_domains_of ON connection_domains (organization_id, connection);

-- Who a company IdP calls by a subject: one person of the directory, for good, or nobody of it.
CREATE TABLE identities (
    id              BLOB    NOT NULL PRIMARY KEY,
    organization_id TEXT    NOT NULL,
    connection      TEXT    NOT NULL,
    subject         TEXT    NOT NULL, -- the NameID or `sub`
    person_id       BLOB    REFERENCES people ON DELETE CASCADE,
    email           TEXT    NOT NULL, -- as last asserted, in lower case
    email_domain    TEXT    NOT NULL, -- its domain, canonical
    display_name    TEXT,
    created_at      INTEGER NOT NULL,
    UNIQUE (organization_id, connection, subject),
    FOREIGN KEY (organization_id, connection) REFERENCES connections (organization_id, name)
        ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX identities_of_person
    ON identities (person_id, organization_id, connection) WHERE person_id IS NOT NULL;
CREATE INDEX identities_of_domain ON identities (organization_id, email_domain);

-- A sign-in, with all that was obtained by it.
CREATE TABLE sessions (
    id               BLOB    NOT NULL PRIMARY KEY,
    hash             BLOB    NOT NULL UNIQUE, -- SHA-256 of the cookie's 256 random bits
    identity_id      BLOB    NOT NULL REFERENCES identities ON DELETE CASCADE,
    authenticated_at INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    browser          TEXT    NOT NULL         -- what the browser calls itself, cut
) STRICT;
CREATE INDEX sessions_of_identity ON sessions (identity_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Authorization codes (RFC 6749, section 4.1.2). A used one is kept, to know it again.
CREATE TABLE codes (
    hash         BLOB    NOT NULL PRIMARY KEY,
    session_id   BLOB    NOT NULL REFERENCES sessions ON DELETE CASCADE,
    client_id    TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    challenge    TEXT    NOT NULL, -- PKCE, S256 (RFC 7636)
    nonce        TEXT,
    scope        TEXT    NOT NULL, -- as granted
    expires_at   INTEGER NOT NULL,
    used         INTEGER NOT NULL DEFAULT 0 CHECK (used IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_of_session ON codes (session_id);

-- Refresh tokens (RFC 6749, section 1.5). A used one is kept, to know it again.
CREATE TABLE refresh_tokens (
    hash       BLOB    NOT NULL PRIMARY KEY,
    session_id BLOB    NOT NULL REFERENCES sessions ON DELETE CASCADE,
    client_id  TEXT    NOT NULL,
    scope      TEXT    NOT NULL,
    issued_at  INTEGER NOT NULL,
    used       INTEGER NOT NULL DEFAULT 0 CHECK (used IN (0, 1))
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

-- Sign-ins under way: from the first page to the session.
CREATE TABLE flows (
    id              BLOB    NOT NULL PRIMARY KEY,
    browser         BLOB    NOT NULL,        -- SHA-256 of the cookie of the browser that began
    request         TEXT,                    -- the client's authorization request, JSON
    organization_id TEXT,
    connection      TEXT,
    state           BLOB    UNIQUE,          -- SHA-256 of the RelayState or `state`
    challenge       TEXT,                    -- what the answer must fit: JSON
    continuation    BLOB    UNIQUE,          -- SHA-256 of what the answering browser was given
    asserted        TEXT,                    -- what the company IdP said, verified: JSON
    expires_at      INTEGER NOT NULL,
    FOREIGN KEY (organization_id, connection) REFERENCES connections (organization_id, name)
        ON DELETE CASCADE
) STRICT;
CREATE INDEX flows_of_connection ON flows (organization_id, connection);
CREATE INDEX flows_expiry ON flows (expires_at);

-- Assertions that were presented: none is taken twice.
CREATE TABLE seen_assertions (
    hash       BLOB    NOT NULL PRIMARY KEY, -- SHA-256 of the connection, the issuer and the id
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_assertions_expiry ON seen_assertions (expires_at);

-- The gateway's own key pairs, sealed with the installation key.
CREATE TABLE keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    purpose    TEXT    NOT NULL, -- id-token, saml-signing, saml-encryption
    sealed     BLOB    NOT NULL, -- the private key, PKCS#8
    public     BLOB    NOT NULL, -- the certificate or the public key, DER
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL, -- published from the start, used from then on
    retired_at INTEGER,          -- no longer used from then on
    expires_at INTEGER           -- no longer published from then on
) STRICT, WITHOUT ROWID;

-- The clients of each IdentityClass, beside `kubernetes`, and how long its tokens live.
CREATE TABLE classes (
    name          TEXT    NOT NULL PRIMARY KEY,
    token_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE clients (
    class         TEXT NOT NULL REFERENCES classes ON DELETE CASCADE,
    id            TEXT NOT NULL,
    redirect_uris TEXT NOT NULL, -- JSON
    secret_hash   BLOB,          -- SHA-256; NULL: a public client
    namespaces    TEXT,          -- JSON; NULL: people of every organization of the class
    PRIMARY KEY (class, id)
) STRICT, WITHOUT ROWID;

-- What a team may reach: the bindings that stand, for people to see.
CREATE TABLE grants (
    organization_id TEXT NOT NULL,
    team            TEXT NOT NULL,
    namespace       TEXT NOT NULL,
    cluster_role    TEXT NOT NULL,
    PRIMARY KEY (organization_id, team, namespace, cluster_role),
    FOREIGN KEY (organization_id, team) REFERENCES teams (organization_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

ALTER TABLE audit ADD COLUMN reference TEXT; -- what an error page showed
CREATE INDEX audit_reference ON audit (reference) WHERE reference IS NOT NULL;
CREATE INDEX audit_of_organization ON audit (organization_id, seq);

-- Ending a person's access is immediate, whoever ends it.
CREATE TRIGGER person_deactivated AFTER UPDATE OF active ON people WHEN new.active = 0
BEGIN
    DELETE FROM sessions WHERE identity_id IN (SELECT id FROM identities WHERE person_id = new.id);
END;
CREATE TRIGGER directory_deleted AFTER UPDATE OF deleted_at ON directories
WHEN new.deleted_at IS NOT NULL
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT i.id FROM identities i JOIN people p ON p.id = i.person_id
        WHERE p.directory_id = new.id);
END;
CREATE TRIGGER domain_lost AFTER UPDATE OF owns ON domains WHEN old.owns = 1 AND new.owns = 0
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT id FROM identities
        WHERE organization_id = old.organization_id AND email_domain = old.domain);
END;
CREATE TRIGGER domain_deleted AFTER DELETE ON domains WHEN old.owns = 1
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT id FROM identities
        WHERE organization_id = old.organization_id AND email_domain = old.domain);
END;
-- Another identity provider in a connection's place vouches for nobody it had.
CREATE TRIGGER issuer_changed AFTER UPDATE OF issuer ON connections WHEN old.issuer <> new.issuer
BEGIN
    DELETE FROM identities
    WHERE organization_id = new.organization_id AND connection = new.name;
    DELETE FROM flows WHERE organization_id = new.organization_id AND connection = new.name;
END;
