-- The schema the planes meet in. Run once by the first migration, as the owning (migrating) role.
-- weir_admin and weir_proxy are group roles: the users of the planes are members and work as them.

DO $$
DECLARE role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['weir_admin', 'weir_proxy'] LOOP
        -- Roles belong to the cluster: another database of it, or whoever set it up, may have made them already.
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
END $$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- Large objects are a place to write that no table's rights close, and PUBLIC may use them. They belong to the server's
-- owner: a migrating user that is not allowed to decide about them leaves them as they are.
DO $$
DECLARE entry regprocedure;
BEGIN
    FOR entry IN
        SELECT oid FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^(lo_|loread$|lowrite$)'
          AND pg_has_role(proowner, 'USAGE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', entry);
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA public TO weir_admin, weir_proxy;

-- ---------------------------------------------------------------------------------------------------------------
-- Change tracking (design §5): every row the proxy polls carries the transaction that last wrote it. The poll asks
-- for rows whose transaction was not yet finished at its last snapshot, which commit order cannot fool.

CREATE FUNCTION stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE FUNCTION announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY weir_changed;  -- only wakes the poll early; several in one transaction are one
    RETURN NULL;
END $$;

CREATE TABLE tombstones (
    kind text NOT NULL,
    id text NOT NULL,
    digest bytea NOT NULL DEFAULT '',   -- of a key: what no longer leads to it
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, id, digest)
);
CREATE INDEX tombstones_changed ON tombstones (changed_xid);
CREATE INDEX tombstones_deleted ON tombstones (deleted_at);

-- ---------------------------------------------------------------------------------------------------------------

CREATE TABLE provider_settings (
    id uuid PRIMARY KEY,
    account_id text NOT NULL DEFAULT 'default',
    provider text NOT NULL,
    name text NOT NULL DEFAULT '',
    params jsonb NOT NULL DEFAULT '{}',
    sealed bytea NOT NULL,
    allowed_models text[] NOT NULL DEFAULT '{}',
    cost_map jsonb,
    unpriced text CHECK (unpriced IN ('refuse', 'free')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX provider_settings_changed ON provider_settings (changed_xid);

CREATE TABLE keys (
    id uuid PRIMARY KEY,
    account_id text NOT NULL DEFAULT 'default',
    project_id text NOT NULL DEFAULT '',
    name text NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    digest bytea NOT NULL,
    digest_version text NOT NULL,
    mask text NOT NULL,
    is_key_not_hashed boolean NOT NULL DEFAULT false,  -- echoed only (design §8): storage is a digest all the same
    is_revoked boolean NOT NULL DEFAULT false,
    revoked_reason text NOT NULL DEFAULT '',
    ttl text NOT NULL DEFAULT '',
    expires_at timestamptz CHECK (isfinite(expires_at)),  -- infinity has no milliseconds: it would fail every poll
    setting_ids uuid[] NOT NULL DEFAULT '{}',
    setting_id text NOT NULL DEFAULT '',               -- the contract's singular form, echoed
    allowed_paths jsonb NOT NULL DEFAULT '[]',
    rotation boolean NOT NULL DEFAULT false,
    should_log_request boolean NOT NULL DEFAULT false,
    should_log_response boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT key_uniqueness UNIQUE (digest)
);
CREATE INDEX keys_changed ON keys (changed_xid);
CREATE INDEX keys_created ON keys (created_at, id);
CREATE INDEX keys_tags ON keys USING gin (tags);
CREATE INDEX keys_settings ON keys USING gin (setting_ids);

-- One row per limit. A scope is a key today; users, accounts and plans become further scopes.
CREATE TABLE limits (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    scope text NOT NULL CHECK (scope IN ('key')),
    scope_id uuid NOT NULL,
    resource text NOT NULL CHECK (resource IN ('requests', 'cost', 'tokens', 'in_flight')),
    window_unit text NOT NULL CHECK (window_unit IN ('s', 'm', 'h', 'd', 'mo', 'total')),
    amount bigint NOT NULL CHECK (amount > 0 AND amount <= 9000000000000000),
    generation integer NOT NULL DEFAULT 1,
    reset_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(reset_at)),
    UNIQUE (scope, scope_id, resource, window_unit)
);

CREATE FUNCTION bump_limited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE keys SET updated_at = greatest(updated_at, now())
    WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.scope_id ELSE NEW.scope_id END;
    RETURN NULL;
END $$;
CREATE TRIGGER limits_bump AFTER INSERT OR UPDATE OR DELETE ON limits FOR EACH ROW EXECUTE FUNCTION bump_limited();

-- An id that was deleted, put back and deleted again has its tombstone renewed.
CREATE FUNCTION bury_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM limits WHERE scope = 'key' AND scope_id = OLD.id;
    END IF;
    INSERT INTO tombstones (kind, id, digest) VALUES ('key', OLD.id::text, OLD.digest)
    ON CONFLICT (kind, id, digest) DO UPDATE SET changed_xid = excluded.changed_xid, deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$;
CREATE FUNCTION bury_setting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (kind, id) VALUES ('provider_setting', OLD.id::text)
    ON CONFLICT (kind, id, digest) DO UPDATE SET changed_xid = excluded.changed_xid, deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$;
CREATE TRIGGER keys_bury AFTER DELETE ON keys FOR EACH ROW EXECUTE FUNCTION bury_key();
CREATE TRIGGER keys_bury_digest AFTER UPDATE ON keys FOR EACH ROW
    WHEN (OLD.digest <> NEW.digest OR OLD.id <> NEW.id) EXECUTE FUNCTION bury_key();
CREATE TRIGGER provider_settings_bury AFTER DELETE ON provider_settings FOR EACH ROW EXECUTE FUNCTION bury_setting();

CREATE TRIGGER keys_stamp BEFORE INSERT OR UPDATE ON keys FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER provider_settings_stamp BEFORE INSERT OR UPDATE ON provider_settings
    FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER keys_announce AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();
CREATE TRIGGER provider_settings_announce AFTER INSERT OR UPDATE OR DELETE ON provider_settings
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();

-- What the proxy polls. Typed columns stay typed; `detail` is the part that is decoded on first use.
CREATE VIEW proxy_keys AS
SELECT k.id::text AS id,
       k.account_id,
       k.project_id,
       k.digest,
       k.is_revoked,
       coalesce((extract(epoch FROM k.expires_at) * 1000)::bigint, 0) AS expires_at_ms,
       coalesce((SELECT json_agg(json_build_array(l.id, l.resource, l.window_unit, l.amount, l.generation,
                                                  (extract(epoch FROM l.reset_at) * 1000)::bigint)
                                 -- the unique index backwards: no sort, which would be a third of a load's time
                                 ORDER BY l.resource DESC, l.window_unit DESC)
                 FROM limits l WHERE l.scope = 'key' AND l.scope_id = k.id), '[]')::text AS limits,
       json_build_object('name', k.name, 'tags', k.tags, 'setting_ids', k.setting_ids,
                         'allowed_paths', k.allowed_paths, 'rotation', k.rotation,
                         'should_log_request', k.should_log_request,
                         'should_log_response', k.should_log_response)::text AS detail,
       k.changed_xid
FROM keys k;

CREATE VIEW proxy_settings AS
SELECT s.id::text AS id,
       s.account_id,
       s.provider,
       s.sealed,
       json_build_object('name', s.name, 'params', s.params, 'allowed_models', s.allowed_models,
                         'cost_map', s.cost_map, 'unpriced', s.unpriced)::text AS detail,
       s.changed_xid
FROM provider_settings s;

-- ---------------------------------------------------------------------------------------------------------------
-- Prices of the operator's own, laid over the catalogue. One row per model of a provider; its entry has the catalogue's
-- form, dated rows included.
CREATE TABLE prices (
    provider text NOT NULL CHECK (provider <> '' AND strpos(provider, '/') = 0),
    model text NOT NULL CHECK (model <> ''),
    -- Before it the catalogue speaks. null: always.
    effective_from timestamptz CHECK (isfinite(effective_from) AND effective_from >= 'epoch'),
    entry jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (provider, model)
);
CREATE INDEX prices_changed ON prices (changed_xid);

CREATE FUNCTION bury_price() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tombstones (kind, id) VALUES ('price', OLD.provider || '/' || OLD.model)
    ON CONFLICT (kind, id, digest) DO UPDATE SET changed_xid = excluded.changed_xid, deleted_at = excluded.deleted_at;
    RETURN NULL;
END $$;
CREATE TRIGGER prices_bury AFTER DELETE ON prices FOR EACH ROW EXECUTE FUNCTION bury_price();
CREATE TRIGGER prices_bury_renamed AFTER UPDATE ON prices FOR EACH ROW
    WHEN (OLD.provider <> NEW.provider OR OLD.model <> NEW.model) EXECUTE FUNCTION bury_price();
CREATE TRIGGER prices_stamp BEFORE INSERT OR UPDATE ON prices FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER prices_announce AFTER INSERT OR UPDATE OR DELETE ON prices
    FOR EACH STATEMENT EXECUTE FUNCTION announce_change();

CREATE VIEW proxy_prices AS
SELECT p.provider,
       p.model,
       coalesce((extract(epoch FROM p.effective_from) * 1000)::bigint, 0) AS effective_from_ms,
       p.entry::text AS entry,
       p.changed_xid
FROM prices p;

GRANT SELECT, INSERT, UPDATE, DELETE ON prices TO weir_admin;
GRANT SELECT ON proxy_prices TO weir_proxy;

-- ---------------------------------------------------------------------------------------------------------------
-- Events (design §7): partitioned by month on the immutable admission time.

CREATE TABLE events (
    id uuid NOT NULL,
    request_id uuid NOT NULL,
    admitted_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL,
    is_final boolean NOT NULL,
    outcome text NOT NULL,
    status integer NOT NULL,
    error_kind text NOT NULL,
    refusals bigint NOT NULL,
    account_id text NOT NULL,
    project_id text NOT NULL,
    key_id text NOT NULL,
    tags text[] NOT NULL,
    user_id text NOT NULL,
    setting_id text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    requested_model text NOT NULL,
    upstream_model text NOT NULL,
    response_model text NOT NULL,
    is_stream boolean NOT NULL,
    custom_id text NOT NULL,
    metadata text NOT NULL,
    action text NOT NULL,
    policy_id text NOT NULL,
    route_id text NOT NULL,
    upstream_request_id text NOT NULL,
    upstream_response_id text NOT NULL,
    input_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    cache_write_5m_tokens bigint NOT NULL,
    cache_write_1h_tokens bigint NOT NULL,
    audio_input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    audio_output_tokens bigint NOT NULL,
    list_cost_nano bigint,        -- null: the price is not known, which is not 0
    charged_cost_nano bigint,
    price_version text NOT NULL,
    is_estimated boolean NOT NULL,
    is_cache_hit boolean NOT NULL,
    latency_us bigint NOT NULL,
    upstream_us bigint NOT NULL,
    time_to_first_token_us bigint,
    overhead_us bigint NOT NULL,
    worker text NOT NULL,
    request bytea NOT NULL,       -- bodies of calls whose key logs them: any content
    response bytea NOT NULL,
    is_request_cut boolean NOT NULL,
    is_response_cut boolean NOT NULL,
    PRIMARY KEY (admitted_at, id)
) PARTITION BY RANGE (admitted_at);
CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE INDEX events_key ON events (key_id, admitted_at);
CREATE INDEX events_custom ON events (custom_id, admitted_at) WHERE custom_id <> '';
CREATE INDEX events_user ON events (user_id, admitted_at) WHERE user_id <> '';
CREATE INDEX events_request ON events (request_id);
-- For proxy_objects below, whose conditions it repeats: only calls that make an object are in it.
CREATE INDEX events_objects ON events (account_id, admitted_at, id)
    INCLUDE (provider, upstream_response_id, setting_id)
    WHERE upstream_response_id <> '' AND endpoint LIKE '%/v1/responses';

-- Owned by the migrating role, so that the admin plane keeps partitions ahead without any right to make tables.
-- Attaching needs far weaker locks than CREATE TABLE ... PARTITION OF; it gives up rather than queue behind a reader.
CREATE FUNCTION ensure_event_partitions(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    first date := date_trunc('month', now() AT TIME ZONE 'UTC')::date;
    made integer := 0;
BEGIN
    IF months NOT BETWEEN 0 AND 120 THEN
        RAISE EXCEPTION 'months must lie between 0 and 120';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('weir.ensure_event_partitions'));
    FOR offset_months IN 0..months LOOP
        DECLARE
            low date := first + make_interval(months => offset_months);
            high date := first + make_interval(months => offset_months + 1);
            partition text := 'events_' || to_char(low, 'YYYY_MM');
        BEGIN
            IF to_regclass('public.' || partition) IS NULL THEN
                EXECUTE format('CREATE TABLE public.%I (LIKE public.events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
                               partition);
                EXECUTE format('ALTER TABLE public.events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
                               partition, low || ' 00:00:00+00', high || ' 00:00:00+00');
                made := made + 1;
            END IF;
        EXCEPTION WHEN check_violation THEN
            -- The default partition already holds rows of this month: they stay there, readable all the same.
            RAISE WARNING 'no partition %: the default partition holds rows of that month', partition;
        END;
    END LOOP;
    RETURN made;
END $$;
SELECT ensure_event_partitions(12);

-- Rollups of the events that reached upstream. `shard` spreads concurrent writers; readers sum over it.
CREATE TABLE spend_hours (
    key_id text NOT NULL,
    hour timestamptz NOT NULL,
    shard smallint NOT NULL,
    account_id text NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    unpriced bigint NOT NULL DEFAULT 0,       -- of these, events whose cost is not known
    prompt_tokens bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    list_cost_nano bigint NOT NULL DEFAULT 0,
    charged_cost_nano bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (key_id, hour, shard)
);
CREATE INDEX spend_hours_account ON spend_hours (account_id, hour);

-- What retention took out of `events`, so that spend = sum(events) + spend_carried stays true.
CREATE TABLE spend_carried (
    key_id text PRIMARY KEY,
    account_id text NOT NULL,
    requests bigint NOT NULL DEFAULT 0,
    charged_cost_nano bigint NOT NULL DEFAULT 0
);

CREATE FUNCTION ingest_events(batch jsonb) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    fresh integer;
BEGIN
    WITH given AS (
        SELECT r.*
        FROM jsonb_to_recordset(batch) AS r(
            id uuid, request_id uuid, admitted_at bigint, ended_at bigint, is_final boolean, outcome text,
            status integer, error_kind text, refusals bigint, account_id text, project_id text, key_id text,
            tags text[], user_id text, setting_id text, provider text, endpoint text, method text, path text,
            requested_model text, upstream_model text, response_model text, is_stream boolean, custom_id text,
            metadata text, action text, policy_id text, route_id text, upstream_request_id text,
            upstream_response_id text, input_tokens bigint, cached_input_tokens bigint, cache_write_5m_tokens bigint,
            cache_write_1h_tokens bigint, audio_input_tokens bigint, output_tokens bigint, reasoning_tokens bigint,
            audio_output_tokens bigint, list_cost_nano bigint, charged_cost_nano bigint, price_version text,
            is_estimated boolean, is_cache_hit boolean, latency_us bigint, upstream_us bigint,
            time_to_first_token_us bigint, overhead_us bigint, worker text, request text, response text,
            is_request_cut boolean, is_response_cut boolean)
    ), fresh_rows AS (
        INSERT INTO events
        SELECT id, request_id,
               'epoch'::timestamptz + admitted_at * interval '1 microsecond',
               'epoch'::timestamptz + ended_at * interval '1 microsecond',
               coalesce(is_final, true), outcome, status, coalesce(error_kind, ''), coalesce(refusals, 1),
               coalesce(account_id, 'default'), coalesce(project_id, ''), coalesce(key_id, ''),
               coalesce(tags, '{}'), coalesce(user_id, ''), coalesce(setting_id, ''), coalesce(provider, ''),
               coalesce(endpoint, ''), coalesce(method, ''), coalesce(path, ''), coalesce(requested_model, ''),
               coalesce(upstream_model, ''), coalesce(response_model, ''), coalesce(is_stream, false),
               coalesce(custom_id, ''), coalesce(metadata, ''), coalesce(action, ''), coalesce(policy_id, ''),
               coalesce(route_id, ''), coalesce(upstream_request_id, ''), coalesce(upstream_response_id, ''),
               coalesce(input_tokens, 0), coalesce(cached_input_tokens, 0), coalesce(cache_write_5m_tokens, 0),
               coalesce(cache_write_1h_tokens, 0), coalesce(audio_input_tokens, 0), coalesce(output_tokens, 0),
               coalesce(reasoning_tokens, 0), coalesce(audio_output_tokens, 0), list_cost_nano, charged_cost_nano,
               coalesce(price_version, ''), coalesce(is_estimated, false), coalesce(is_cache_hit, false),
               coalesce(latency_us, 0), coalesce(upstream_us, 0), time_to_first_token_us, coalesce(overhead_us, 0),
               coalesce(worker, ''), coalesce(decode(request, 'base64'), ''), coalesce(decode(response, 'base64'), ''),
               coalesce(is_request_cut, false), coalesce(is_response_cut, false)
        FROM given
        ON CONFLICT DO NOTHING
        RETURNING key_id, account_id, admitted_at, worker, outcome, is_final, input_tokens, cached_input_tokens,
                  cache_write_5m_tokens, cache_write_1h_tokens, audio_input_tokens, output_tokens, reasoning_tokens,
                  audio_output_tokens, list_cost_nano, charged_cost_nano
    ), rolled AS (
        INSERT INTO spend_hours AS s (key_id, hour, shard, account_id, requests, unpriced, prompt_tokens,
                                      completion_tokens, list_cost_nano, charged_cost_nano)
        SELECT key_id, date_trunc('hour', admitted_at, 'UTC'), abs(hashtext(worker)) % 8, min(account_id),
               -- A request counts once, however many settings were tried for it.
               count(*) FILTER (WHERE is_final),
               count(*) FILTER (WHERE list_cost_nano IS NULL),
               sum(input_tokens + cached_input_tokens + cache_write_5m_tokens + cache_write_1h_tokens
                   + audio_input_tokens),
               sum(output_tokens + reasoning_tokens + audio_output_tokens),
               coalesce(sum(list_cost_nano), 0), coalesce(sum(charged_cost_nano), 0)
        FROM fresh_rows
        WHERE outcome <> 'refused'
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        ON CONFLICT (key_id, hour, shard) DO UPDATE SET
            requests = s.requests + excluded.requests,
            unpriced = s.unpriced + excluded.unpriced,
            prompt_tokens = s.prompt_tokens + excluded.prompt_tokens,
            completion_tokens = s.completion_tokens + excluded.completion_tokens,
            list_cost_nano = s.list_cost_nano + excluded.list_cost_nano,
            charged_cost_nano = s.charged_cost_nano + excluded.charged_cost_nano
    )
    SELECT count(*) INTO fresh FROM fresh_rows;
    RETURN fresh;
END $$;

-- What the limiter rebuilds its counters from (design §6): only what it needs of the events.
CREATE VIEW proxy_charges AS
SELECT id::text AS id, key_id, account_id, admitted_at, ended_at, charged_cost_nano, outcome, is_final
FROM events WHERE outcome <> 'refused';

-- Objects that stay at a provider and that only the account that made them may use, and what they were made with.
CREATE VIEW proxy_objects AS
SELECT id, account_id, admitted_at, provider, upstream_response_id AS object_id, setting_id
FROM events WHERE upstream_response_id <> '' AND endpoint LIKE '%/v1/responses';

-- ---------------------------------------------------------------------------------------------------------------
-- What the admin plane reads of a key. Expired and exhausted are derived here (design §6); no row says them. Spend is
-- only summed for keys that have a lifetime cost limit.
CREATE VIEW admin_keys AS
SELECT k.id, k.name, k.tags, k.mask, k.is_key_not_hashed, k.is_revoked, k.revoked_reason, k.ttl, k.setting_ids,
       k.setting_id, k.allowed_paths, k.rotation, k.should_log_request, k.should_log_response, k.created_at,
       k.updated_at,
       coalesce(l.cost_total_nano, 0) AS cost_total_nano,
       coalesce(l.cost_window_nano, 0) AS cost_window_nano,
       coalesce(l.cost_window_unit, '') AS cost_window_unit,
       coalesce(l.requests_window, 0) AS requests_window,
       coalesce(l.requests_window_unit, '') AS requests_window_unit,
       coalesce(k.expires_at <= now(), false) AS is_expired,
       CASE WHEN l.cost_total_nano IS NULL THEN false
            ELSE coalesce((SELECT sum(s.charged_cost_nano) FROM spend_hours s WHERE s.key_id = k.id::text), 0)
               + coalesce((SELECT c.charged_cost_nano FROM spend_carried c WHERE c.key_id = k.id::text), 0)
               >= l.cost_total_nano
       END AS is_exhausted
FROM keys k
LEFT JOIN LATERAL (
    SELECT max(amount) FILTER (WHERE resource = 'cost' AND window_unit = 'total') AS cost_total_nano,
           max(amount) FILTER (WHERE resource = 'cost' AND window_unit <> 'total') AS cost_window_nano,
           max(window_unit) FILTER (WHERE resource = 'cost' AND window_unit <> 'total') AS cost_window_unit,
           max(amount) FILTER (WHERE resource = 'requests') AS requests_window,
           max(window_unit) FILTER (WHERE resource = 'requests') AS requests_window_unit
    FROM limits WHERE scope = 'key' AND scope_id = k.id
) l ON true;

-- ---------------------------------------------------------------------------------------------------------------
-- Every change by an operator, append-only for the admin plane's own role.
CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    remote_address text NOT NULL,
    action text NOT NULL,
    resource text NOT NULL,
    resource_id text NOT NULL,
    change jsonb NOT NULL        -- field names and non-secret values only
);

GRANT SELECT, INSERT, UPDATE, DELETE ON provider_settings, keys, limits, tombstones TO weir_admin;
GRANT SELECT ON events, spend_hours, spend_carried, admin_keys TO weir_admin;
GRANT SELECT, INSERT ON audit_log TO weir_admin;
GRANT SELECT ON proxy_keys, proxy_settings, tombstones, proxy_charges, proxy_objects, spend_hours, spend_carried TO weir_proxy;
REVOKE ALL ON FUNCTION ingest_events(jsonb), ensure_event_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest_events(jsonb) TO weir_proxy;
GRANT EXECUTE ON FUNCTION ensure_event_partitions(integer) TO weir_admin;
