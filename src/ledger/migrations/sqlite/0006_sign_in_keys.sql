-- Keys that assertions are encrypted for: each organization has its own, so that none can have
-- another's assertion opened. Those made before were for all, and open nothing from now on.
DELETE FROM keys WHERE purpose = 'saml-encryption';
-- whose; NULL: the installation's
ALTER TABLE keys ADD COLUMN organization_id TEXT REFERENCES organizations ON DELETE CASCADE;
CREATE INDEX keys_of_purpose ON keys (purpose, organization_id);

-- How many answers to a flow were refused.
ALTER TABLE flows ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;

-- When a session began; `authenticated_at` is when the company IdP last asked who somebody is.
ALTER TABLE sessions ADD COLUMN began_at INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET began_at = authenticated_at;
