CREATE TABLE $prefixstate (
  one bigint NOT NULL,
  layout bigint NOT NULL,
  position bigint NOT NULL,
  build text NOT NULL,
  PRIMARY KEY (one)
);

CREATE TABLE $prefixorganizations (
  organization text NOT NULL,
  plan text NOT NULL,
  owners jsonb NOT NULL,
  registered_at timestamp with time zone NOT NULL,
  modified_at timestamp with time zone NOT NULL,
  modified_by text NOT NULL,
  modified_version bigint NOT NULL,
  version bigint NOT NULL,
  tokens bigint NOT NULL,
  inactive bigint NOT NULL,
  PRIMARY KEY (organization)
);

CREATE TABLE $prefixtokens (
  id uuid NOT NULL,
  organization text NOT NULL,
  label text NOT NULL,
  label_folded text NOT NULL,
  description text NOT NULL,
  inactive boolean NOT NULL,
  resources jsonb NOT NULL,
  created_at timestamp with time zone NOT NULL,
  created_by text NOT NULL,
  expires_at timestamp with time zone,
  expires_nanos bigint NOT NULL,
  expires_text text NOT NULL,
  modified_at timestamp with time zone NOT NULL,
  modified_by text NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (id, organization)
);

CREATE INDEX $prefixtokens_1 ON $prefixtokens (organization, inactive, expires_at);

CREATE TABLE $prefixresources (
  id uuid NOT NULL,
  organization text NOT NULL,
  ordinal bigint NOT NULL,
  type text NOT NULL,
  path text NOT NULL,
  pull boolean NOT NULL,
  push boolean NOT NULL,
  PRIMARY KEY (id, organization, ordinal)
);

CREATE INDEX $prefixresources_1 ON $prefixresources (path);

CREATE TABLE $prefixlast_used (
  id uuid NOT NULL,
  organization text NOT NULL,
  accepted_first timestamp with time zone,
  accepted_last timestamp with time zone,
  accepted_count bigint NOT NULL,
  accepted_cause text NOT NULL,
  accepted_address text NOT NULL,
  accepted_user_agent text NOT NULL,
  refused_first timestamp with time zone,
  refused_last timestamp with time zone,
  refused_count bigint NOT NULL,
  refused_cause text NOT NULL,
  refused_address text NOT NULL,
  refused_user_agent text NOT NULL,
  PRIMARY KEY (id, organization)
);

CREATE TABLE $prefixplans (
  plan text NOT NULL,
  tokens bigint NOT NULL,
  PRIMARY KEY (plan)
);

CREATE VIEW $prefixtoken_status AS
SELECT t.id, t.organization, t.label, t.description,
  CASE WHEN t.inactive = TRUE THEN 'inactive' WHEN t.expires_at <= now() THEN 'expired' ELSE 'active' END AS status,
  (t.inactive = FALSE AND (t.expires_at IS NULL OR t.expires_at > now()) AND coalesce(p.tokens, 0) > 0) AS usable,
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
    (SELECT count(*) FROM $prefixtokens t WHERE t.organization = o.organization AND t.inactive = FALSE AND t.expires_at <= now()) AS expired
  FROM $prefixorganizations o LEFT JOIN $prefixplans p ON p.plan = o.plan) c;

CREATE VIEW $prefixowners AS
SELECT o.organization, x.value AS owner, x.number - 1 AS ordinal
FROM $prefixorganizations o, jsonb_array_elements_text(o.owners) WITH ORDINALITY x (value, number);

INSERT INTO $prefixstate (one, layout, position, build) VALUES (1, 1, 0, '');
