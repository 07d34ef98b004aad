-- Domains: what covers their subdomains, who may take over, and when a claim's clock began.

-- What the object asks of the claim. `sought` is written by the next pass over the object, as are
-- the others; until then a claim covers its own name alone, and takes nothing over.
ALTER TABLE domains ADD COLUMN include_subdomains INTEGER NOT NULL DEFAULT 0 CHECK (include_subdomains IN (0, 1));
ALTER TABLE domains ADD COLUMN sought INTEGER NOT NULL DEFAULT 0 CHECK (sought IN (0, 1)); -- 1: may become the owner
ALTER TABLE domains ADD COLUMN request TEXT; -- the last request to look again that was met
CREATE INDEX domains_proved ON domains (domain) WHERE proved_at IS NOT NULL;

-- The registrable domain above an e-mail domain (or that itself), by the public suffix list: no
-- proof further up covers it. Until the next sign-in, no proof further up at all.
ALTER TABLE identities ADD COLUMN registrable TEXT NOT NULL DEFAULT '';
UPDATE identities SET registrable = email_domain;
CREATE INDEX identities_of_registrable ON identities (registrable);

-- Sessions end at and below a name that is lost, and below one that no longer covers what is there.
DROP TRIGGER domain_lost;
DROP TRIGGER domain_deleted;
CREATE TRIGGER domain_lost AFTER UPDATE OF owns ON domains WHEN old.owns = 1 AND new.owns = 0
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT id FROM identities
        WHERE organization_id = old.organization_id AND email_domain = old.domain);
    DELETE FROM sessions WHERE old.include_subdomains = 1 AND identity_id IN (
        SELECT id FROM identities WHERE organization_id = old.organization_id
            AND substr(email_domain, -length(old.domain) - 1) = '.' || old.domain);
END;
CREATE TRIGGER domain_deleted AFTER DELETE ON domains WHEN old.owns = 1
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT id FROM identities
        WHERE organization_id = old.organization_id AND email_domain = old.domain);
    DELETE FROM sessions WHERE old.include_subdomains = 1 AND identity_id IN (
        SELECT id FROM identities WHERE organization_id = old.organization_id
            AND substr(email_domain, -length(old.domain) - 1) = '.' || old.domain);
END;
CREATE TRIGGER domain_narrowed AFTER UPDATE OF include_subdomains ON domains
WHEN old.owns = 1 AND old.include_subdomains = 1 AND new.include_subdomains = 0
BEGIN
    DELETE FROM sessions WHERE identity_id IN (
        SELECT id FROM identities WHERE organization_id = old.organization_id
            AND substr(email_domain, -length(old.domain) - 1) = '.' || old.domain);
END;
