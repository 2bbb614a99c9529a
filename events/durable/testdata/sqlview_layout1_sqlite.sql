CREATE TABLE $prefixstate (
  one INTEGER NOT NULL,
  layout INTEGER NOT NULL,
  position INTEGER NOT NULL,
  build TEXT NOT NULL,
  PRIMARY KEY (one)
) STRICT;

CREATE TABLE $prefixorganizations (
  organization TEXT NOT NULL,
  plan TEXT NOT NULL,
  owners TEXT NOT NULL,
  registered_at INTEGER NOT NULL,
  modified_at INTEGER NOT NULL,
  modified_by TEXT NOT NULL,
  modified_version INTEGER NOT NULL,
  version INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  inactive INTEGER NOT NULL,
  PRIMARY KEY (organization)
) STRICT;

CREATE TABLE $prefixtokens (
  id TEXT NOT NULL,
  organization TEXT NOT NULL,
  label TEXT NOT NULL,
  label_folded TEXT NOT NULL,
  description TEXT NOT NULL,
  inactive INTEGER NOT NULL,
  resources TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  expires_nanos INTEGER NOT NULL,
  expires_text TEXT NOT NULL,
  modified_at INTEGER NOT NULL,
  modified_by TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (id, organization)
) STRICT;

CREATE INDEX $prefixtokens_1 ON $prefixtokens (organization, inactive, expires_at);

CREATE TABLE $prefixresources (
  id TEXT NOT NULL,
  organization TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  type TEXT NOT NULL,
  path TEXT NOT NULL,
  pull INTEGER NOT NULL,
  push INTEGER NOT NULL,
  PRIMARY KEY (id, organization, ordinal)
) STRICT;

CREATE INDEX $prefixresources_1 ON $prefixresources (path);

CREATE TABLE $prefixlast_used (
  id TEXT NOT NULL,
  organization TEXT NOT NULL,
  accepted_first INTEGER,
  accepted_last INTEGER,
  accepted_count INTEGER NOT NULL,
  accepted_cause TEXT NOT NULL,
  accepted_address TEXT NOT NULL,
  accepted_user_agent TEXT NOT NULL,
  refused_first INTEGER,
  refused_last INTEGER,
  refused_count INTEGER NOT NULL,
  refused_cause TEXT NOT NULL,
  refused_address TEXT NOT NULL,
  refused_user_agent TEXT NOT NULL,
  PRIMARY KEY (id, organization)
) STRICT;

CREATE TABLE $prefixplans (
  plan TEXT NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (plan)
) STRICT;

CREATE VIEW $prefixtoken_status AS
SELECT t.id, t.organization, t.label, t.description,
  CASE WHEN t.inactive = TRUE THEN 'inactive' WHEN t.expires_at <= CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000 THEN 'expired' ELSE 'active' END AS status,
  (t.inactive = FALSE AND (t.expires_at IS NULL OR t.expires_at > CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AND coalesce(p.tokens, 0) > 0) AS usable,
  t.created_at, t.created_by, t.expires_at, t.modified_at, t.modified_by,
  u.accepted_last AS last_used_at, coalesce(u.accepted_count, 0) AS used_count, u.accepted_address AS last_used_from, u.accepted_user_agent AS last_used_with,
  u.refused_last AS last_refused_at, coalesce(u.refused_count, 0) AS refused_count, u.refused_address AS last_refused_from, u.refused_cause AS last_refused_cause
FROM $prefixtokens t
JOIN $prefixorganizations o ON o.organization = t.organization
LEFT JOIN $prefixplans p ON p.plan = o.plan
LEFT JOIN $prefixlast_used u ON u.id = t.id AND u.organization = t.organization;

CREATE VIEW $prefixcounts AS
SELECT organization, plan, total, total - inactive - expired AS active, inactive, expired, token_limit,
  CASE WHEN token_limit > total THEN token_limit - total ELSE 0 END AS remaining
FROM (SELECT o.organization, o.plan, o.tokens AS total, o.inactive, coalesce(p.tokens, 0) AS token_limit,
    (SELECT count(*) FROM $prefixtokens t WHERE t.organization = o.organization AND t.inactive = FALSE AND t.expires_at <= CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000) AS expired
  FROM $prefixorganizations o LEFT JOIN $prefixplans p ON p.plan = o.plan) c;

CREATE VIEW $prefixowners AS
SELECT o.organization, x.value AS owner, x.key AS ordinal
FROM $prefixorganizations o, json_each(o.owners) x;

INSERT INTO $prefixstate (one, layout, position, build) VALUES (1, 1, 0, '');
