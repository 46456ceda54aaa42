-- key: mt_47b7b7987077cff9_N4y9Qd7k6FKROls2yb7VJFjiZxX8lT5A8eQTY2wGsys
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA dbos;
CREATE FUNCTION dbos.enqueue_workflow(workflow_name text, queue_name text, positional_args json[] DEFAULT ARRAY[]::json[], named_args json DEFAULT '{}'::json, class_name text DEFAULT NULL::text, config_name text DEFAULT NULL::text, workflow_id text DEFAULT NULL::text, app_version text DEFAULT NULL::text, timeout_ms bigint DEFAULT NULL::bigint, deadline_epoch_ms bigint DEFAULT NULL::bigint, deduplication_id text DEFAULT NULL::text, priority integer DEFAULT NULL::integer, queue_partition_key text DEFAULT NULL::text, authenticated_user text DEFAULT NULL::text, authenticated_roles text DEFAULT NULL::text, delay_until_epoch_ms bigint DEFAULT NULL::bigint, application_name text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_workflow_id TEXT;
    v_serialized_inputs TEXT;
    v_owner_xid TEXT;
    v_now BIGINT;
    v_recovery_attempts INT4 := 0;
    v_priority INT4;
    v_status TEXT;
BEGIN
    -- Validate required parameters
    IF workflow_name IS NULL OR workflow_name = '' THEN
        RAISE EXCEPTION 'Workflow name cannot be null or empty';
    END IF;
    IF queue_name IS NULL OR queue_name = '' THEN
        RAISE EXCEPTION 'Queue name cannot be null or empty';
    END IF;
    IF named_args IS NOT NULL AND jsonb_typeof(named_args::jsonb) != 'object' THEN
        RAISE EXCEPTION 'Named args must be a JSON object';
    END IF;
    IF workflow_id IS NOT NULL AND workflow_id = '' THEN
        RAISE EXCEPTION 'Workflow ID cannot be an empty string if provided.';
    END IF;
    IF delay_until_epoch_ms IS NOT NULL AND delay_until_epoch_ms < 0 THEN
        RAISE EXCEPTION 'delay_until_epoch_ms must be >= 0';
    END IF;
    v_workflow_id := COALESCE(workflow_id, gen_random_uuid()::TEXT);
    v_owner_xid := gen_random_uuid()::TEXT;
    v_priority := COALESCE(priority, 0);
    v_serialized_inputs := json_build_object(
        'positionalArgs', positional_args,
        'namedArgs', named_args
    )::TEXT;
    v_now := EXTRACT(epoch FROM now()) * 1000;
    v_status := CASE WHEN delay_until_epoch_ms IS NULL THEN 'ENQUEUED' ELSE 'DELAYED' END;
    INSERT INTO "dbos".workflow_status (
        workflow_uuid, status,
        name, class_name, config_name,
        queue_name, deduplication_id, priority, queue_partition_key,
        application_version,
        created_at, updated_at, recovery_attempts,
        workflow_timeout_ms, workflow_deadline_epoch_ms,
        parent_workflow_id, owner_xid, serialization,
        authenticated_user, authenticated_roles,
        delay_until_epoch_ms, application_name
    ) VALUES (
        v_workflow_id, v_status,
        workflow_name, class_name, config_name,
        queue_name, deduplication_id, v_priority, queue_partition_key,
        app_version,
        v_now, v_now, v_recovery_attempts,
        timeout_ms, deadline_epoch_ms,
        NULL, v_owner_xid, 'portable_json',
        authenticated_user, authenticated_roles,
        delay_until_epoch_ms, application_name
    )
    ON CONFLICT (workflow_uuid)
    DO UPDATE SET
        updated_at = EXCLUDED.updated_at;
    INSERT INTO "dbos".workflow_input (
        workflow_uuid, inputs, retention_timestamp
    ) VALUES (
        v_workflow_id, v_serialized_inputs, v_now
    )
    ON CONFLICT (workflow_uuid) DO NOTHING;
    RETURN v_workflow_id;
EXCEPTION
    WHEN unique_violation THEN
        RAISE EXCEPTION 'DBOS queue duplicated'
            USING DETAIL = format('Workflow %s with queue %s and deduplication ID %s already exists', v_workflow_id, queue_name, deduplication_id),
                ERRCODE = 'unique_violation';
END;
$$;
CREATE FUNCTION dbos.notifications_function() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    payload text := NEW.destination_uuid || '::' || NEW.topic;
BEGIN
    PERFORM pg_notify('dbos_notifications_channel', payload);
    RETURN NEW;
END;
$$;
CREATE FUNCTION dbos.send_message(destination_id text, message json, topic text DEFAULT NULL::text, message_id text DEFAULT NULL::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
    v_topic TEXT := COALESCE(topic, '__null__topic__');
    v_message_id TEXT := COALESCE(message_id, gen_random_uuid()::TEXT);
BEGIN
    INSERT INTO "dbos".notifications (
        destination_uuid, topic, message, message_uuid, serialization
    ) VALUES (
        destination_id, v_topic, message, v_message_id, 'portable_json'
    )
    ON CONFLICT (message_uuid) DO NOTHING;
EXCEPTION
    WHEN foreign_key_violation THEN
        RAISE EXCEPTION 'DBOS non-existent workflow'
            USING DETAIL = format('Destination workflow %s does not exist', destination_id),
                ERRCODE = 'foreign_key_violation';
END;
$$;
CREATE FUNCTION public.audit_log_refuses() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE dbos.application_versions (
    version_id text NOT NULL,
    version_name text NOT NULL,
    version_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_name text
);
CREATE TABLE dbos.dbos_migrations (
    version bigint NOT NULL
);
CREATE TABLE dbos.event_dispatch_kv (
    service_name text NOT NULL,
    workflow_fn_name text NOT NULL,
    key text NOT NULL,
    value text,
    update_seq numeric(38,0),
    update_time numeric(38,15)
);
CREATE TABLE dbos.notifications (
    message_uuid text DEFAULT gen_random_uuid() NOT NULL,
    destination_uuid text NOT NULL,
    topic text,
    message text NOT NULL,
    created_at_epoch_ms bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    serialization text,
    consumed boolean DEFAULT false NOT NULL,
    consumed_by_function_id integer
);
CREATE TABLE dbos.operation_outputs (
    workflow_uuid text NOT NULL,
    function_id integer NOT NULL,
    function_name text DEFAULT ''::text NOT NULL,
    output text,
    error text,
    child_workflow_id text,
    started_at_epoch_ms bigint,
    completed_at_epoch_ms bigint,
    serialization text,
    application_name text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.queues (
    queue_id text DEFAULT (gen_random_uuid())::text NOT NULL,
    name text NOT NULL,
    concurrency integer,
    worker_concurrency integer,
    rate_limit_max integer,
    rate_limit_period_sec double precision,
    priority_enabled boolean DEFAULT false NOT NULL,
    partition_queue boolean DEFAULT false NOT NULL,
    polling_interval_sec double precision DEFAULT 1.0 NOT NULL,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    updated_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_name text,
    partition_concurrency integer,
    partition_worker_concurrency integer,
    partition_rate_limit_max integer,
    partition_rate_limit_period_sec double precision
);
CREATE TABLE dbos.streams (
    workflow_uuid text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    "offset" integer NOT NULL,
    function_id integer DEFAULT 0 NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_events (
    workflow_uuid text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_events_history (
    workflow_uuid text NOT NULL,
    function_id integer NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    serialization text
);
CREATE TABLE dbos.workflow_input (
    workflow_uuid text NOT NULL,
    inputs text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.workflow_output (
    workflow_uuid text NOT NULL,
    output text,
    error text,
    retention_timestamp bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL
);
CREATE TABLE dbos.workflow_schedules (
    schedule_id text NOT NULL,
    schedule_name text NOT NULL,
    workflow_name text NOT NULL,
    workflow_class_name text,
    schedule text NOT NULL,
    status text DEFAULT 'ACTIVE'::text NOT NULL,
    context text NOT NULL,
    last_fired_at text,
    automatic_backfill boolean DEFAULT false NOT NULL,
    cron_timezone text,
    queue_name text,
    application_name text
);
CREATE TABLE dbos.workflow_status (
    workflow_uuid text NOT NULL,
    status text,
    name text,
    authenticated_user text,
    assumed_role text,
    authenticated_roles text,
    request text,
    output text,
    error text,
    executor_id text,
    created_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    updated_at bigint DEFAULT ((EXTRACT(epoch FROM now()) * 1000.0))::bigint NOT NULL,
    application_version text,
    application_id text,
    class_name character varying(255) DEFAULT NULL::character varying,
    config_name character varying(255) DEFAULT NULL::character varying,
    recovery_attempts bigint DEFAULT 0,
    queue_name text,
    workflow_timeout_ms bigint,
    workflow_deadline_epoch_ms bigint,
    inputs text,
    started_at_epoch_ms bigint,
    deduplication_id text,
    priority integer DEFAULT 0 NOT NULL,
    queue_partition_key text,
    forked_from text,
    owner_xid text,
    parent_workflow_id text,
    serialization text,
    delay_until_epoch_ms bigint,
    was_forked_from boolean DEFAULT false NOT NULL,
    rate_limited boolean DEFAULT false NOT NULL,
    completed_at bigint,
    attributes jsonb,
    schedule_name text,
    debounce_deadline_epoch_ms bigint,
    is_debounced boolean DEFAULT false NOT NULL,
    application_name text,
    creator_xid text
);
CREATE TABLE public.adaptations (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    learner_id bigint NOT NULL,
    name character varying(128) NOT NULL,
    summary json NOT NULL,
    artefact_id character varying(32) NOT NULL,
    revision bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.adaptations FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.adaptations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.adaptations_id_seq OWNED BY public.adaptations.id;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id character varying(32) NOT NULL,
    project_id bigint NOT NULL,
    secret_hash bytea NOT NULL,
    scopes json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    name character varying(128) DEFAULT ''::character varying NOT NULL,
    is_instance boolean DEFAULT false NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone
);
CREATE TABLE public.artefact_chunks (
    artefact_id character varying(32) NOT NULL,
    "position" bigint NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.artefact_chunks FORCE ROW LEVEL SECURITY;
CREATE TABLE public.artefacts (
    id character varying(32) NOT NULL,
    project_id bigint NOT NULL,
    size bigint NOT NULL,
    sha256 character varying(64),
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.artefacts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.audit_log (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    by character varying(32) NOT NULL,
    action character varying(32) NOT NULL,
    target text NOT NULL,
    details json NOT NULL
);
ALTER TABLE ONLY public.audit_log FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_log_id_seq OWNED BY public.audit_log.id;
CREATE TABLE public.events (
    study_id bigint NOT NULL,
    revision bigint NOT NULL,
    type character varying(32) NOT NULL,
    number bigint,
    state character varying(16) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.events FORCE ROW LEVEL SECURITY;
CREATE TABLE public.idempotency_keys (
    project_id bigint NOT NULL,
    key_hash character varying(64) NOT NULL,
    fingerprint character varying(64) NOT NULL,
    reference json NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE TABLE public.job_log (
    job_id bigint NOT NULL,
    "position" bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    text text NOT NULL
);
ALTER TABLE ONLY public.job_log FORCE ROW LEVEL SECURITY;
CREATE TABLE public.job_parts (
    job_id bigint NOT NULL,
    number bigint NOT NULL,
    task json NOT NULL,
    state character varying(16) NOT NULL,
    progress double precision NOT NULL,
    attempts bigint NOT NULL,
    stalled bigint NOT NULL,
    dispatches bigint NOT NULL,
    error text,
    result json,
    checkpoint_id character varying(32),
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    worker character varying(32),
    CONSTRAINT ck_job_parts_state CHECK (((state)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'succeeded'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);
ALTER TABLE ONLY public.job_parts FORCE ROW LEVEL SECURITY;
CREATE TABLE public.jobs (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    uid character varying(32) NOT NULL,
    kind character varying(32) NOT NULL,
    name character varying(128) NOT NULL,
    body json NOT NULL,
    queue character varying(16) NOT NULL,
    state character varying(16) NOT NULL,
    progress double precision NOT NULL,
    attempts bigint NOT NULL,
    stalled bigint NOT NULL,
    dispatches bigint NOT NULL,
    error text,
    result json,
    checkpoint_id character varying(32),
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    revision bigint NOT NULL,
    model_id character varying(32),
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_jobs_state CHECK (((state)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'succeeded'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);
ALTER TABLE ONLY public.jobs FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.jobs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.jobs_id_seq OWNED BY public.jobs.id;
CREATE TABLE public.lesson_words (
    lesson_id bigint NOT NULL,
    word character varying(129) NOT NULL,
    project_id bigint NOT NULL
);
ALTER TABLE ONLY public.lesson_words FORCE ROW LEVEL SECURITY;
CREATE TABLE public.lessons (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    study_id bigint,
    name character varying(128) NOT NULL,
    is_latest boolean NOT NULL,
    n_changes bigint NOT NULL,
    n_results bigint NOT NULL,
    signature character varying(64) NOT NULL,
    space json NOT NULL,
    description text NOT NULL,
    tags json NOT NULL,
    metafeatures json NOT NULL,
    objectives json NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.lessons FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.lessons_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.lessons_id_seq OWNED BY public.lessons.id;
CREATE TABLE public.prior_sources (
    study_id bigint NOT NULL,
    lesson_id bigint NOT NULL,
    "position" bigint NOT NULL,
    is_taken boolean NOT NULL,
    similarity double precision NOT NULL,
    why text NOT NULL,
    cap double precision NOT NULL
);
ALTER TABLE ONLY public.prior_sources FORCE ROW LEVEL SECURITY;
CREATE TABLE public.projects (
    id bigint NOT NULL,
    name character varying(128) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.projects_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.projects_id_seq OWNED BY public.projects.id;
CREATE TABLE public.reports (
    trial_id bigint NOT NULL,
    attempt bigint NOT NULL,
    step bigint NOT NULL,
    value double precision,
    measured json NOT NULL,
    created_at timestamp with time zone NOT NULL,
    study_id bigint NOT NULL,
    is_current boolean NOT NULL
);
ALTER TABLE ONLY public.reports FORCE ROW LEVEL SECURITY;
CREATE TABLE public.rung_values (
    trial_id bigint NOT NULL,
    rung bigint NOT NULL,
    study_id bigint NOT NULL,
    bracket bigint NOT NULL,
    step bigint NOT NULL,
    losses json,
    loss double precision,
    may_go_on boolean NOT NULL
);
ALTER TABLE ONLY public.rung_values FORCE ROW LEVEL SECURITY;
CREATE TABLE public.space_versions (
    study_id bigint NOT NULL,
    version bigint NOT NULL,
    space json NOT NULL,
    constraints json NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.space_versions FORCE ROW LEVEL SECURITY;
CREATE TABLE public.studies (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    uid character varying(32) NOT NULL,
    name character varying(128) NOT NULL,
    state character varying(16) NOT NULL,
    objectives json NOT NULL,
    outcomes json NOT NULL,
    algorithm json NOT NULL,
    pruning json,
    seed bigint NOT NULL,
    space_version bigint NOT NULL,
    description text NOT NULL,
    tags json NOT NULL,
    stop json NOT NULL,
    metafeatures json NOT NULL,
    warm_start text NOT NULL,
    max_retries bigint NOT NULL,
    next_number bigint NOT NULL,
    revision bigint NOT NULL,
    n_waiting bigint NOT NULL,
    n_running bigint NOT NULL,
    n_paused bigint NOT NULL,
    n_complete bigint NOT NULL,
    n_pruned bigint NOT NULL,
    n_failed bigint NOT NULL,
    n_infeasible bigint NOT NULL,
    n_lost bigint NOT NULL,
    n_imported bigint NOT NULL,
    first_ask_at timestamp with time zone,
    paused_at timestamp with time zone,
    paused_seconds double precision NOT NULL,
    created_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    n_changes bigint DEFAULT 0 NOT NULL,
    knowledge_version bigint,
    CONSTRAINT ck_studies_state CHECK (((state)::text = ANY ((ARRAY['active'::character varying, 'paused'::character varying, 'stopped'::character varying])::text[])))
);
ALTER TABLE ONLY public.studies FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.studies_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.studies_id_seq OWNED BY public.studies.id;
CREATE TABLE public.study_log (
    study_id bigint NOT NULL,
    revision bigint NOT NULL,
    kind character varying(32) NOT NULL,
    number bigint,
    before json,
    after json,
    reason text,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.study_log FORCE ROW LEVEL SECURITY;
CREATE TABLE public.study_tags (
    study_id bigint NOT NULL,
    name character varying(128) NOT NULL,
    value text NOT NULL
);
ALTER TABLE ONLY public.study_tags FORCE ROW LEVEL SECURITY;
CREATE TABLE public.trials (
    id bigint NOT NULL,
    study_id bigint NOT NULL,
    number bigint NOT NULL,
    state character varying(16) NOT NULL,
    attempt bigint NOT NULL,
    params json NOT NULL,
    is_partial boolean NOT NULL,
    config_key character varying(64),
    space_version bigint NOT NULL,
    in_space boolean NOT NULL,
    value double precision,
    measured json,
    feasible boolean,
    noise double precision,
    cost double precision,
    metadata json NOT NULL,
    reason text,
    origin json NOT NULL,
    worker text,
    lease_token character varying(64),
    lease_expires_at timestamp with time zone,
    lease_seconds double precision,
    expiries bigint NOT NULL,
    stop_requested boolean NOT NULL,
    waiting_rank bigint,
    waiting_since timestamp with time zone,
    checkpoint text,
    until_step bigint,
    created_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    finished_revision bigint,
    last_step bigint,
    last_measured json,
    last_change bigint DEFAULT 0 NOT NULL,
    CONSTRAINT ck_trials_lease CHECK ((((state)::text <> 'running'::text) OR ((lease_token IS NOT NULL) AND (lease_expires_at IS NOT NULL)))),
    CONSTRAINT ck_trials_number CHECK ((number >= 1)),
    CONSTRAINT ck_trials_state CHECK (((state)::text = ANY ((ARRAY['waiting'::character varying, 'running'::character varying, 'paused'::character varying, 'complete'::character varying, 'pruned'::character varying, 'failed'::character varying, 'infeasible'::character varying, 'lost'::character varying, 'removed'::character varying])::text[])))
);
ALTER TABLE ONLY public.trials FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.trials_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.trials_id_seq OWNED BY public.trials.id;
CREATE TABLE public.uploads (
    id bigint NOT NULL,
    project_id bigint NOT NULL,
    kind character varying(16) NOT NULL,
    name character varying(128) NOT NULL,
    summary json NOT NULL,
    artefact_id character varying(32) NOT NULL,
    created_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.uploads FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.uploads_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.uploads_id_seq OWNED BY public.uploads.id;
CREATE TABLE public.workers (
    id character varying(32) NOT NULL,
    address text NOT NULL,
    machine text,
    process text,
    capacity bigint NOT NULL,
    has_gpu boolean NOT NULL,
    version character varying(32) NOT NULL,
    started_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.adaptations ALTER COLUMN id SET DEFAULT nextval('public.adaptations_id_seq'::regclass);
ALTER TABLE ONLY public.audit_log ALTER COLUMN id SET DEFAULT nextval('public.audit_log_id_seq'::regclass);
ALTER TABLE ONLY public.jobs ALTER COLUMN id SET DEFAULT nextval('public.jobs_id_seq'::regclass);
ALTER TABLE ONLY public.lessons ALTER COLUMN id SET DEFAULT nextval('public.lessons_id_seq'::regclass);
ALTER TABLE ONLY public.projects ALTER COLUMN id SET DEFAULT nextval('public.projects_id_seq'::regclass);
ALTER TABLE ONLY public.studies ALTER COLUMN id SET DEFAULT nextval('public.studies_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN id SET DEFAULT nextval('public.trials_id_seq'::regclass);
ALTER TABLE ONLY public.uploads ALTER COLUMN id SET DEFAULT nextval('public.uploads_id_seq'::regclass);
INSERT INTO dbos.dbos_migrations VALUES (125);
INSERT INTO public.alembic_version VALUES ('0010');
INSERT INTO public.api_keys VALUES ('47b7b7987077cff9', 1, '\x7073f099286da1e820f000af0195d295b424b0aea595c381c3e4673bd4f6c5d2', '["admin", "read", "write"]', '2026-11-22 05:33:01.144859+00', '', false, NULL, NULL, NULL);
INSERT INTO public.audit_log VALUES (1, 1, '2026-11-22 05:33:01.144859+00', 'command line', 'key.created', 'keys/47b7b7987077cff9', '{"name": "", "scopes": ["admin", "read", "write"], "instance": false, "expires_at": null}');
INSERT INTO public.audit_log VALUES (2, 1, '2026-11-22 05:33:01.289885+00', '47b7b7987077cff9', 'study.created', 'studies/golden', '{}');
INSERT INTO public.audit_log VALUES (3, 1, '2026-11-22 05:33:02.189462+00', '47b7b7987077cff9', 'trial.added', 'studies/golden/trials/6', '{"n_trials": 1, "imported": 0}');
INSERT INTO public.audit_log VALUES (4, 1, '2026-11-22 05:33:02.258282+00', '47b7b7987077cff9', 'trial.added', 'studies/golden/trials/7', '{"n_trials": 1, "imported": 1}');
INSERT INTO public.audit_log VALUES (5, 1, '2026-11-22 05:33:02.312877+00', '47b7b7987077cff9', 'trial.corrected', 'studies/golden/trials/3', '{"before": {"values": {"value": 0.7}, "reason": null}, "after": {"values": {"value": 0.6}, "reason": "measured again"}, "reason": "measured again"}');
INSERT INTO public.audit_log VALUES (6, 1, '2026-11-22 05:33:02.377513+00', '47b7b7987077cff9', 'trial.removed', 'studies/golden/trials/1', '{"before": {"state": "complete"}, "after": {"state": "removed"}, "reason": null}');
INSERT INTO public.audit_log VALUES (7, 1, '2026-11-22 05:33:02.442139+00', '47b7b7987077cff9', 'study.changed', 'studies/golden', '{"before": {"description": "Gr\u00fc\u00dfe"}, "after": {"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}}');
INSERT INTO public.audit_log VALUES (8, 1, '2026-11-22 05:33:02.521353+00', '47b7b7987077cff9', 'study.created', 'studies/two', '{}');
INSERT INTO public.audit_log VALUES (9, 1, '2026-11-22 05:33:02.596592+00', '47b7b7987077cff9', 'trial.added', 'studies/two/trials/1', '{"n_trials": 1, "imported": 1}');
INSERT INTO public.events VALUES (1, 1, 'study.updated', NULL, 'active', '2026-11-22 05:33:01.289885+00');
INSERT INTO public.events VALUES (1, 2, 'trial.created', 1, 'running', '2026-11-22 05:33:01.394698+00');
INSERT INTO public.events VALUES (1, 3, 'trial.reported', 1, 'running', '2026-11-22 05:33:01.489849+00');
INSERT INTO public.events VALUES (1, 4, 'trial.finished', 1, 'complete', '2026-11-22 05:33:01.587779+00');
INSERT INTO public.events VALUES (1, 5, 'trial.created', 2, 'running', '2026-11-22 05:33:01.651081+00');
INSERT INTO public.events VALUES (1, 6, 'trial.reported', 2, 'running', '2026-11-22 05:33:01.733934+00');
INSERT INTO public.events VALUES (1, 7, 'trial.finished', 2, 'complete', '2026-11-22 05:33:01.845371+00');
INSERT INTO public.events VALUES (1, 8, 'trial.created', 3, 'running', '2026-11-22 05:33:01.8776+00');
INSERT INTO public.events VALUES (1, 9, 'trial.reported', 3, 'running', '2026-11-22 05:33:01.925223+00');
INSERT INTO public.events VALUES (1, 10, 'trial.finished', 3, 'complete', '2026-11-22 05:33:01.987704+00');
INSERT INTO public.events VALUES (1, 11, 'trial.created', 4, 'running', '2026-11-22 05:33:02.029782+00');
INSERT INTO public.events VALUES (1, 12, 'trial.finished', 4, 'failed', '2026-11-22 05:33:02.077256+00');
INSERT INTO public.events VALUES (1, 13, 'trial.created', 5, 'running', '2026-11-22 05:33:02.135299+00');
INSERT INTO public.events VALUES (1, 14, 'trial.created', 6, 'waiting', '2026-11-22 05:33:02.189462+00');
INSERT INTO public.events VALUES (1, 15, 'trial.created', 7, 'complete', '2026-11-22 05:33:02.258282+00');
INSERT INTO public.events VALUES (1, 16, 'trial.finished', 3, 'complete', '2026-11-22 05:33:02.312877+00');
INSERT INTO public.events VALUES (1, 17, 'trial.removed', 1, 'removed', '2026-11-22 05:33:02.377513+00');
INSERT INTO public.events VALUES (1, 18, 'study.updated', NULL, 'active', '2026-11-22 05:33:02.442139+00');
INSERT INTO public.events VALUES (2, 1, 'study.updated', NULL, 'active', '2026-11-22 05:33:02.521353+00');
INSERT INTO public.events VALUES (2, 2, 'trial.created', 1, 'complete', '2026-11-22 05:33:02.596592+00');
INSERT INTO public.idempotency_keys VALUES (1, '3cc5b779a48c63b56a5c180c7c5223c8591f4c01f7d29a1c9e06ef28a18e6f90', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[1, 1]], "done": false, "reason": null}', '2026-11-22 05:33:01.394698+00');
INSERT INTO public.idempotency_keys VALUES (1, '7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[2, 1]], "done": false, "reason": null}', '2026-11-22 05:33:01.651081+00');
INSERT INTO public.idempotency_keys VALUES (1, 'fd0d3d58eb69d18d2dc3f6d46af1e629441322b3ee700194fa055e6e3bfe9c85', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[3, 1]], "done": false, "reason": null}', '2026-11-22 05:33:01.8776+00');
INSERT INTO public.projects VALUES (1, 'default', '2026-11-22 05:32:59.856566+00');
INSERT INTO public.reports VALUES (2, 1, 1, 0.45, '{"value": 0.45}', '2026-11-22 05:33:01.733934+00', 1, true);
INSERT INTO public.reports VALUES (3, 1, 1, 0.35, '{"value": 0.35}', '2026-11-22 05:33:01.925223+00', 1, true);
INSERT INTO public.reports VALUES (1, 1, 1, 0.25, '{"value": 0.25}', '2026-11-22 05:33:01.489849+00', 1, false);
INSERT INTO public.rung_values VALUES (2, 0, 1, 0, 1, '[-0.45]', -0.45, false);
INSERT INTO public.rung_values VALUES (3, 0, 1, 0, 1, '[-0.35]', -0.35, false);
INSERT INTO public.space_versions VALUES (1, 1, '{"lr": {"type": "float", "low": 1e-05, "high": 1.0, "scale": "log"}, "layers": {"type": "int", "low": 1, "high": 8}, "kernel": {"type": "categorical", "choices": ["rbf", "poly"]}, "degree": {"type": "int", "low": 2, "high": 5, "when": {"kernel": ["poly"]}}}', '[]', '2026-11-22 05:33:01.289885+00');
INSERT INTO public.space_versions VALUES (2, 1, '{"x": {"type": "bool"}}', '[]', '2026-11-22 05:33:02.521353+00');
INSERT INTO public.studies VALUES (1, 1, '09a67e52ec16ca0761f26a28', 'golden', 'active', '[{"name": "value", "direction": "maximize"}]', '[]', '{"name": "random"}', '{"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}', 7, 1, 'Grüße aus der Vergangenheit', '{"team": "vision"}', '{}', '{}', 'auto', 3, 8, 18, 1, 1, 0, 3, 0, 1, 0, 0, 1, '2026-11-22 05:33:01.394698+00', NULL, 0, '2026-11-22 05:33:01.289885+00', NULL, 13, NULL);
INSERT INTO public.studies VALUES (2, 1, 'f91f711b95e629fcbee64562', 'two', 'active', '[{"name": "accuracy", "direction": "maximize"}, {"name": "latency", "direction": "minimize"}]', '[]', '{"name": "random"}', NULL, 1834707331494175, 1, '', '{}', '{}', '{}', 'auto', 3, 2, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, 0, '2026-11-22 05:33:02.521353+00', NULL, 1, NULL);
INSERT INTO public.study_log VALUES (1, 16, 'corrected', 3, '{"state": "complete", "values": {"value": 0.7}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', '{"state": "complete", "values": {"value": 0.6}, "noise": null, "cost": 2.5, "reason": "measured again", "metadata": {}}', 'measured again', '2026-11-22 05:33:02.312877+00');
INSERT INTO public.study_log VALUES (1, 17, 'removed', 1, '{"state": "complete", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', '{"state": "removed", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', NULL, '2026-11-22 05:33:02.377513+00');
INSERT INTO public.study_log VALUES (1, 18, 'patched', NULL, '{"description": "Gr\u00fc\u00dfe"}', '{"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}', NULL, '2026-11-22 05:33:02.442139+00');
INSERT INTO public.study_tags VALUES (1, 'team', 'vision');
INSERT INTO public.trials VALUES (2, 1, 2, 'complete', 1, '{"lr": 3.154500942168433e-05, "layers": 1, "kernel": "poly", "degree": 4}', false, '18a1b8a78975585b5f7bac22dc5a0c36', 1, true, 0.9, '{"value": 0.9}', true, NULL, 2.5, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:01.651081+00', '2026-11-22 05:33:01.651081+00', '2026-11-22 05:33:01.845371+00', 7, 1, '{"value": 0.45}', 4);
INSERT INTO public.trials VALUES (4, 1, 4, 'failed', 1, '{"lr": 0.40476649209220267, "layers": 7, "kernel": "rbf"}', false, 'fbcc564709e3378ee9e8bbea84206b22', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', 'out of memory', '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:02.029782+00', '2026-11-22 05:33:02.029782+00', '2026-11-22 05:33:02.077256+00', 12, NULL, NULL, 8);
INSERT INTO public.trials VALUES (5, 1, 5, 'running', 1, '{"lr": 3.0278604396308602e-05, "layers": 2, "kernel": "rbf"}', false, '39bfc8adb8ba10dd7a06d58811420951', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', 'sTf1p4sjTg5q5ShwEVwiKA', '2026-11-23 05:33:02.135299+00', 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:02.135299+00', '2026-11-22 05:33:02.135299+00', NULL, NULL, NULL, NULL, 9);
INSERT INTO public.trials VALUES (6, 1, 6, 'waiting', 0, '{"lr": 0.01, "layers": 2, "kernel": "rbf"}', false, '137e5058706a57c52bd80bb4b4c0e666', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', NULL, '{"source": "enqueued", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, 1, '2026-11-22 05:33:02.189462+00', NULL, NULL, '2026-11-22 05:33:02.189462+00', NULL, NULL, NULL, NULL, NULL, 10);
INSERT INTO public.trials VALUES (7, 1, 7, 'complete', 0, '{"lr": 0.02, "layers": 3, "kernel": "rbf"}', false, '152f7d3adf33bdba7852990c30c45d19', 1, true, 0.1, '{"value": 0.1}', true, NULL, NULL, '{}', NULL, '{"source": "imported", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:02.258282+00', NULL, '2026-11-22 05:33:02.258282+00', 15, NULL, NULL, 11);
INSERT INTO public.trials VALUES (3, 1, 3, 'complete', 1, '{"lr": 0.0008918964931598657, "layers": 6, "kernel": "poly", "degree": 5}', false, '4bc23e41d320872c84632ff7dce9fb50', 1, true, 0.6, '{"value": 0.6}', true, NULL, 2.5, '{}', 'measured again', '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:01.8776+00', '2026-11-22 05:33:01.8776+00', '2026-11-22 05:33:01.987704+00', 10, 1, '{"value": 0.35}', 12);
INSERT INTO public.trials VALUES (1, 1, 1, 'removed', 1, '{"lr": 0.0002233522524001051, "layers": 4, "kernel": "poly", "degree": 5}', false, 'ee30aaba7c603c910af9cf8958956056', 1, true, 0.5, '{"value": 0.5}', true, NULL, 2.5, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:01.394698+00', '2026-11-22 05:33:01.394698+00', '2026-11-22 05:33:01.587779+00', 4, 1, '{"value": 0.25}', 13);
INSERT INTO public.trials VALUES (8, 2, 1, 'complete', 0, '{"x": true}', false, '10ca051c3026d0b14e8384f6e38be038', 1, true, NULL, '{"accuracy": 0.9, "latency": 3.0}', true, NULL, NULL, '{}', NULL, '{"source": "imported", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, NULL, NULL, NULL, NULL, '2026-11-22 05:33:02.596592+00', NULL, '2026-11-22 05:33:02.596592+00', 2, NULL, NULL, 1);
SELECT pg_catalog.setval('public.adaptations_id_seq', 1, false);
SELECT pg_catalog.setval('public.audit_log_id_seq', 9, true);
SELECT pg_catalog.setval('public.jobs_id_seq', 1, false);
SELECT pg_catalog.setval('public.lessons_id_seq', 1, false);
SELECT pg_catalog.setval('public.projects_id_seq', 1, true);
SELECT pg_catalog.setval('public.studies_id_seq', 2, true);
SELECT pg_catalog.setval('public.trials_id_seq', 8, true);
SELECT pg_catalog.setval('public.uploads_id_seq', 1, false);
ALTER TABLE ONLY dbos.application_versions
    ADD CONSTRAINT application_versions_pkey PRIMARY KEY (version_id);
ALTER TABLE ONLY dbos.application_versions
    ADD CONSTRAINT application_versions_version_name_key UNIQUE (version_name);
ALTER TABLE ONLY dbos.dbos_migrations
    ADD CONSTRAINT dbos_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY dbos.event_dispatch_kv
    ADD CONSTRAINT event_dispatch_kv_pkey PRIMARY KEY (service_name, workflow_fn_name, key);
ALTER TABLE ONLY dbos.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (message_uuid);
ALTER TABLE ONLY dbos.operation_outputs
    ADD CONSTRAINT operation_outputs_pkey PRIMARY KEY (workflow_uuid, function_id);
ALTER TABLE ONLY dbos.queues
    ADD CONSTRAINT queues_name_key UNIQUE (name);
ALTER TABLE ONLY dbos.queues
    ADD CONSTRAINT queues_pkey PRIMARY KEY (queue_id);
ALTER TABLE ONLY dbos.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (workflow_uuid, key, "offset");
ALTER TABLE ONLY dbos.workflow_events_history
    ADD CONSTRAINT workflow_events_history_pkey PRIMARY KEY (workflow_uuid, function_id, key);
ALTER TABLE ONLY dbos.workflow_events
    ADD CONSTRAINT workflow_events_pkey PRIMARY KEY (workflow_uuid, key);
ALTER TABLE ONLY dbos.workflow_input
    ADD CONSTRAINT workflow_input_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY dbos.workflow_output
    ADD CONSTRAINT workflow_output_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY dbos.workflow_schedules
    ADD CONSTRAINT workflow_schedules_pkey PRIMARY KEY (schedule_id);
ALTER TABLE ONLY dbos.workflow_schedules
    ADD CONSTRAINT workflow_schedules_schedule_name_key UNIQUE (schedule_name);
ALTER TABLE ONLY dbos.workflow_status
    ADD CONSTRAINT workflow_status_pkey PRIMARY KEY (workflow_uuid);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.adaptations
    ADD CONSTRAINT pk_adaptations PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.artefact_chunks
    ADD CONSTRAINT pk_artefact_chunks PRIMARY KEY (artefact_id, "position");
ALTER TABLE ONLY public.artefacts
    ADD CONSTRAINT pk_artefacts PRIMARY KEY (id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT pk_audit_log PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (study_id, revision);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT pk_idempotency_keys PRIMARY KEY (project_id, key_hash);
ALTER TABLE ONLY public.job_log
    ADD CONSTRAINT pk_job_log PRIMARY KEY (job_id, "position");
ALTER TABLE ONLY public.job_parts
    ADD CONSTRAINT pk_job_parts PRIMARY KEY (job_id, number);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);
ALTER TABLE ONLY public.lesson_words
    ADD CONSTRAINT pk_lesson_words PRIMARY KEY (lesson_id, word);
ALTER TABLE ONLY public.lessons
    ADD CONSTRAINT pk_lessons PRIMARY KEY (id);
ALTER TABLE ONLY public.prior_sources
    ADD CONSTRAINT pk_prior_sources PRIMARY KEY (study_id, lesson_id);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT pk_projects PRIMARY KEY (id);
ALTER TABLE ONLY public.reports
    ADD CONSTRAINT pk_reports PRIMARY KEY (trial_id, attempt, step);
ALTER TABLE ONLY public.rung_values
    ADD CONSTRAINT pk_rung_values PRIMARY KEY (trial_id, rung);
ALTER TABLE ONLY public.space_versions
    ADD CONSTRAINT pk_space_versions PRIMARY KEY (study_id, version);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT pk_studies PRIMARY KEY (id);
ALTER TABLE ONLY public.study_log
    ADD CONSTRAINT pk_study_log PRIMARY KEY (study_id, revision);
ALTER TABLE ONLY public.study_tags
    ADD CONSTRAINT pk_study_tags PRIMARY KEY (study_id, name);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT pk_trials PRIMARY KEY (id);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT pk_uploads PRIMARY KEY (id);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (id);
ALTER TABLE ONLY public.adaptations
    ADD CONSTRAINT uq_adaptations_learner_id_name UNIQUE (learner_id, name);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT uq_jobs_project_id_kind_name UNIQUE (project_id, kind, name);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT uq_jobs_uid UNIQUE (uid);
ALTER TABLE ONLY public.projects
    ADD CONSTRAINT uq_projects_name UNIQUE (name);
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT uq_studies_uid UNIQUE (uid);
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT uq_trials_study_id_number UNIQUE (study_id, number);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT uq_uploads_project_id_kind_name UNIQUE (project_id, kind, name);
CREATE INDEX idx_application_versions_owner_timestamp ON dbos.application_versions USING btree (application_name, version_timestamp DESC);
CREATE INDEX idx_application_versions_timestamp ON dbos.application_versions USING btree (version_timestamp DESC);
CREATE INDEX idx_operation_outputs_completed_at_function_name_v2 ON dbos.operation_outputs USING btree (completed_at_epoch_ms, function_name) INCLUDE (application_name);
CREATE INDEX idx_operation_outputs_retention ON dbos.operation_outputs USING btree (retention_timestamp);
CREATE INDEX idx_workflow_input_retention ON dbos.workflow_input USING btree (retention_timestamp);
CREATE INDEX idx_workflow_output_retention ON dbos.workflow_output USING btree (retention_timestamp);
CREATE INDEX idx_workflow_status_attributes ON dbos.workflow_status USING gin (attributes) WHERE (attributes IS NOT NULL);
CREATE INDEX idx_workflow_status_completed_at ON dbos.workflow_status USING btree (completed_at) WHERE (completed_at IS NOT NULL);
CREATE INDEX idx_workflow_status_deadline ON dbos.workflow_status USING btree (workflow_deadline_epoch_ms) WHERE ((status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text, 'DELAYED'::text])) AND (workflow_deadline_epoch_ms IS NOT NULL));
CREATE INDEX idx_workflow_status_delayed ON dbos.workflow_status USING btree (delay_until_epoch_ms) WHERE (status = 'DELAYED'::text);
CREATE INDEX idx_workflow_status_failed ON dbos.workflow_status USING btree (status, created_at) WHERE (status = ANY (ARRAY['ERROR'::text, 'CANCELLED'::text, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'::text]));
CREATE INDEX idx_workflow_status_forked_from ON dbos.workflow_status USING btree (forked_from) WHERE (forked_from IS NOT NULL);
CREATE INDEX idx_workflow_status_in_flight_v2 ON dbos.workflow_status USING btree (queue_name, status, priority, created_at) INCLUDE (application_name) WHERE (status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text]));
CREATE INDEX idx_workflow_status_parent_workflow_id ON dbos.workflow_status USING btree (parent_workflow_id) WHERE (parent_workflow_id IS NOT NULL);
CREATE INDEX idx_workflow_status_partition_dequeue_v3 ON dbos.workflow_status USING btree (queue_name, status, queue_partition_key, priority, created_at, workflow_uuid) INCLUDE (application_name) WHERE ((status = ANY (ARRAY['ENQUEUED'::text, 'PENDING'::text])) AND (queue_partition_key IS NOT NULL));
CREATE INDEX idx_workflow_status_pending ON dbos.workflow_status USING btree (created_at) WHERE (status = 'PENDING'::text);
CREATE INDEX idx_workflow_status_rate_limited ON dbos.workflow_status USING btree (queue_name, started_at_epoch_ms) WHERE (rate_limited = true);
CREATE INDEX idx_workflow_status_schedule_name ON dbos.workflow_status USING btree (schedule_name) WHERE (schedule_name IS NOT NULL);
CREATE INDEX idx_workflow_status_started_at ON dbos.workflow_status USING btree (started_at_epoch_ms) WHERE (started_at_epoch_ms IS NOT NULL);
CREATE INDEX idx_workflow_topic ON dbos.notifications USING btree (destination_uuid, topic);
CREATE UNIQUE INDEX uq_application_versions_owner_version ON dbos.application_versions USING btree (application_name, version_name) WHERE (application_name IS NOT NULL);
CREATE UNIQUE INDEX uq_application_versions_unclaimed_version ON dbos.application_versions USING btree (version_name) WHERE (application_name IS NULL);
CREATE UNIQUE INDEX uq_workflow_status_dedup_id ON dbos.workflow_status USING btree (queue_name, deduplication_id) WHERE (deduplication_id IS NOT NULL);
CREATE INDEX workflow_status_created_at_index ON dbos.workflow_status USING btree (created_at);
CREATE INDEX ix_artefacts_created_at ON public.artefacts USING btree (created_at);
CREATE INDEX ix_artefacts_project_id ON public.artefacts USING btree (project_id);
CREATE INDEX ix_audit_log_project_id_id ON public.audit_log USING btree (project_id, id);
CREATE INDEX ix_idempotency_keys_created_at ON public.idempotency_keys USING btree (created_at);
CREATE INDEX ix_jobs_unfinished ON public.jobs USING btree (state) WHERE ((state)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying])::text[]));
CREATE INDEX ix_lesson_words_project_id_word ON public.lesson_words USING btree (project_id, word, lesson_id);
CREATE INDEX ix_lessons_project_id_name ON public.lessons USING btree (project_id, name);
CREATE INDEX ix_lessons_project_id_signature ON public.lessons USING btree (project_id, signature, id);
CREATE INDEX ix_lessons_study_id ON public.lessons USING btree (study_id);
CREATE INDEX ix_prior_sources_lesson_id ON public.prior_sources USING btree (lesson_id);
CREATE INDEX ix_reports_study_id_step ON public.reports USING btree (study_id, step, is_current, value);
CREATE INDEX ix_rung_values_study_id_loss ON public.rung_values USING btree (study_id, bracket, rung, loss, trial_id);
CREATE INDEX ix_rung_values_study_id_may_go_on ON public.rung_values USING btree (study_id, may_go_on, bracket, rung, loss, trial_id);
CREATE INDEX ix_studies_project_id ON public.studies USING btree (project_id);
CREATE INDEX ix_study_tags_name_value ON public.study_tags USING btree (name, value);
CREATE INDEX ix_trials_lease_expires_at ON public.trials USING btree (lease_expires_at) WHERE ((state)::text = 'running'::text);
CREATE INDEX ix_trials_study_id_config_key ON public.trials USING btree (study_id, config_key);
CREATE INDEX ix_trials_study_id_finished_revision ON public.trials USING btree (study_id, state, finished_revision);
CREATE INDEX ix_trials_study_id_last_change ON public.trials USING btree (study_id, last_change);
CREATE INDEX ix_trials_study_id_state_waiting ON public.trials USING btree (study_id, state, waiting_rank, waiting_since, number);
CREATE INDEX ix_trials_study_id_value ON public.trials USING btree (study_id, state, value, number);
CREATE UNIQUE INDEX uq_studies_project_id_name ON public.studies USING btree (project_id, name) WHERE (deleted_at IS NULL);
CREATE TRIGGER dbos_notifications_trigger AFTER INSERT ON dbos.notifications FOR EACH ROW EXECUTE FUNCTION dbos.notifications_function();
CREATE TRIGGER audit_log_refuses BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.audit_log_refuses();
ALTER TABLE ONLY dbos.notifications
    ADD CONSTRAINT notifications_destination_uuid_fkey FOREIGN KEY (destination_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.streams
    ADD CONSTRAINT streams_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.workflow_events_history
    ADD CONSTRAINT workflow_events_history_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY dbos.workflow_events
    ADD CONSTRAINT workflow_events_workflow_uuid_fkey FOREIGN KEY (workflow_uuid) REFERENCES dbos.workflow_status(workflow_uuid) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE ONLY public.adaptations
    ADD CONSTRAINT fk_adaptations_artefact_id FOREIGN KEY (artefact_id) REFERENCES public.artefacts(id);
ALTER TABLE ONLY public.adaptations
    ADD CONSTRAINT fk_adaptations_learner_id FOREIGN KEY (learner_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.adaptations
    ADD CONSTRAINT fk_adaptations_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.artefact_chunks
    ADD CONSTRAINT fk_artefact_chunks_artefact_id FOREIGN KEY (artefact_id) REFERENCES public.artefacts(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.artefacts
    ADD CONSTRAINT fk_artefacts_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT fk_audit_log_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT fk_events_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT fk_idempotency_keys_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.job_log
    ADD CONSTRAINT fk_job_log_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.job_parts
    ADD CONSTRAINT fk_job_parts_checkpoint_id FOREIGN KEY (checkpoint_id) REFERENCES public.artefacts(id);
ALTER TABLE ONLY public.job_parts
    ADD CONSTRAINT fk_job_parts_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_checkpoint_id FOREIGN KEY (checkpoint_id) REFERENCES public.artefacts(id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_model_id FOREIGN KEY (model_id) REFERENCES public.artefacts(id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.lesson_words
    ADD CONSTRAINT fk_lesson_words_lesson_id FOREIGN KEY (lesson_id) REFERENCES public.lessons(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.lesson_words
    ADD CONSTRAINT fk_lesson_words_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.lessons
    ADD CONSTRAINT fk_lessons_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.lessons
    ADD CONSTRAINT fk_lessons_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.prior_sources
    ADD CONSTRAINT fk_prior_sources_lesson_id FOREIGN KEY (lesson_id) REFERENCES public.lessons(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.prior_sources
    ADD CONSTRAINT fk_prior_sources_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.reports
    ADD CONSTRAINT fk_reports_trial_id FOREIGN KEY (trial_id) REFERENCES public.trials(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.rung_values
    ADD CONSTRAINT fk_rung_values_trial_id FOREIGN KEY (trial_id) REFERENCES public.trials(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.space_versions
    ADD CONSTRAINT fk_space_versions_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.studies
    ADD CONSTRAINT fk_studies_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE ONLY public.study_log
    ADD CONSTRAINT fk_study_log_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.study_tags
    ADD CONSTRAINT fk_study_tags_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.trials
    ADD CONSTRAINT fk_trials_study_id FOREIGN KEY (study_id) REFERENCES public.studies(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT fk_uploads_artefact_id FOREIGN KEY (artefact_id) REFERENCES public.artefacts(id);
ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT fk_uploads_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);
ALTER TABLE public.adaptations ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.artefact_chunks ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.artefacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.job_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.job_parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.jobs ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.lesson_words ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.lessons ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.prior_sources ENABLE ROW LEVEL SECURITY;
CREATE POLICY project ON public.adaptations USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.artefact_chunks USING ((EXISTS ( SELECT
   FROM public.artefacts
  WHERE ((artefacts.id)::text = (artefact_chunks.artefact_id)::text))));
CREATE POLICY project ON public.artefacts USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.audit_log USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.events USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = events.study_id))));
CREATE POLICY project ON public.idempotency_keys USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.job_log USING ((EXISTS ( SELECT
   FROM public.jobs
  WHERE (jobs.id = job_log.job_id))));
CREATE POLICY project ON public.job_parts USING ((EXISTS ( SELECT
   FROM public.jobs
  WHERE (jobs.id = job_parts.job_id))));
CREATE POLICY project ON public.jobs USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.lesson_words USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.lessons USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.prior_sources USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = prior_sources.study_id))));
CREATE POLICY project ON public.reports USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = reports.study_id))));
CREATE POLICY project ON public.rung_values USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = rung_values.study_id))));
CREATE POLICY project ON public.space_versions USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = space_versions.study_id))));
CREATE POLICY project ON public.studies USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
CREATE POLICY project ON public.study_log USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = study_log.study_id))));
CREATE POLICY project ON public.study_tags USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = study_tags.study_id))));
CREATE POLICY project ON public.trials USING ((EXISTS ( SELECT
   FROM public.studies
  WHERE (studies.id = trials.study_id))));
CREATE POLICY project ON public.uploads USING (((current_setting('metatune.project'::text, true) = (project_id)::text) OR (current_setting('metatune.project'::text, true) = 'every'::text)));
ALTER TABLE public.reports ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.rung_values ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.space_versions ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.studies ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.study_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.study_tags ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.trials ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY;
