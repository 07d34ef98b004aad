-- Queries say `owns`, not `owns = 1`, which PostgreSQL doesn't understand of a boolean; an index
-- serves those that say the same as it does.
DROP INDEX domains_owner;
CREATE UNIQUE INDEX domains_owner ON domains (domain) WHERE owns;
