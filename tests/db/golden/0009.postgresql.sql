-- key: mt_89e6bf33733c0123_1dQxJmWpxBaz29JVpOtpqiXKHEqT3i-HG_16XRR0J3c
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
CREATE FUNCTION public.audit_log_refuses() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
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
ALTER TABLE ONLY public.audit_log ALTER COLUMN id SET DEFAULT nextval('public.audit_log_id_seq'::regclass);
ALTER TABLE ONLY public.jobs ALTER COLUMN id SET DEFAULT nextval('public.jobs_id_seq'::regclass);
ALTER TABLE ONLY public.lessons ALTER COLUMN id SET DEFAULT nextval('public.lessons_id_seq'::regclass);
ALTER TABLE ONLY public.projects ALTER COLUMN id SET DEFAULT nextval('public.projects_id_seq'::regclass);
ALTER TABLE ONLY public.studies ALTER COLUMN id SET DEFAULT nextval('public.studies_id_seq'::regclass);
ALTER TABLE ONLY public.trials ALTER COLUMN id SET DEFAULT nextval('public.trials_id_seq'::regclass);
ALTER TABLE ONLY public.uploads ALTER COLUMN id SET DEFAULT nextval('public.uploads_id_seq'::regclass);
INSERT INTO public.alembic_version VALUES ('0009');
INSERT INTO public.api_keys VALUES ('89e6bf33733c0123', 1, '\x2f186d8fde2552d1cfb9160c09d6911faadd96eb22f33d1ef65d34e3dc509cbe', '["admin", "read", "write"]', '2026-11-21 23:51:43.931983+00', '', false, NULL, NULL, NULL);
INSERT INTO public.audit_log VALUES (1, 1, '2026-11-21 23:51:43.931983+00', 'command line', 'key.created', 'keys/89e6bf33733c0123', '{"name": "", "scopes": ["admin", "read", "write"], "instance": false, "expires_at": null}');
INSERT INTO public.audit_log VALUES (2, 1, '2026-11-21 23:51:44.159284+00', '89e6bf33733c0123', 'study.created', 'studies/golden', '{}');
INSERT INTO public.audit_log VALUES (3, 1, '2026-11-21 23:51:45.403372+00', '89e6bf33733c0123', 'trial.added', 'studies/golden/trials/6', '{"n_trials": 1, "imported": 0}');
INSERT INTO public.audit_log VALUES (4, 1, '2026-11-21 23:51:45.445748+00', '89e6bf33733c0123', 'trial.added', 'studies/golden/trials/7', '{"n_trials": 1, "imported": 1}');
INSERT INTO public.audit_log VALUES (5, 1, '2026-11-21 23:51:45.555959+00', '89e6bf33733c0123', 'trial.corrected', 'studies/golden/trials/3', '{"before": {"values": {"value": 0.7}, "reason": null}, "after": {"values": {"value": 0.6}, "reason": "measured again"}, "reason": "measured again"}');
INSERT INTO public.audit_log VALUES (6, 1, '2026-11-21 23:51:45.642039+00', '89e6bf33733c0123', 'trial.removed', 'studies/golden/trials/1', '{"before": {"state": "complete"}, "after": {"state": "removed"}, "reason": null}');
INSERT INTO public.audit_log VALUES (7, 1, '2026-11-21 23:51:45.760653+00', '89e6bf33733c0123', 'study.changed', 'studies/golden', '{"before": {"description": "Gr\u00fc\u00dfe"}, "after": {"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}}');
INSERT INTO public.audit_log VALUES (8, 1, '2026-11-21 23:51:45.899924+00', '89e6bf33733c0123', 'study.created', 'studies/two', '{}');
INSERT INTO public.audit_log VALUES (9, 1, '2026-11-21 23:51:46.057945+00', '89e6bf33733c0123', 'trial.added', 'studies/two/trials/1', '{"n_trials": 1, "imported": 1}');
INSERT INTO public.events VALUES (1, 1, 'study.updated', NULL, 'active', '2026-11-21 23:51:44.159284+00');
INSERT INTO public.events VALUES (1, 2, 'trial.created', 1, 'running', '2026-11-21 23:51:44.415102+00');
INSERT INTO public.events VALUES (1, 3, 'trial.reported', 1, 'running', '2026-11-21 23:51:44.58558+00');
INSERT INTO public.events VALUES (1, 4, 'trial.finished', 1, 'complete', '2026-11-21 23:51:44.871963+00');
INSERT INTO public.events VALUES (1, 5, 'trial.created', 2, 'running', '2026-11-21 23:51:44.962019+00');
INSERT INTO public.events VALUES (1, 6, 'trial.reported', 2, 'running', '2026-11-21 23:51:45.0582+00');
INSERT INTO public.events VALUES (1, 7, 'trial.finished', 2, 'complete', '2026-11-21 23:51:45.244746+00');
INSERT INTO public.events VALUES (1, 8, 'trial.created', 3, 'running', '2026-11-21 23:51:45.258351+00');
INSERT INTO public.events VALUES (1, 9, 'trial.reported', 3, 'running', '2026-11-21 23:51:45.276346+00');
INSERT INTO public.events VALUES (1, 10, 'trial.finished', 3, 'complete', '2026-11-21 23:51:45.309279+00');
INSERT INTO public.events VALUES (1, 11, 'trial.created', 4, 'running', '2026-11-21 23:51:45.32489+00');
INSERT INTO public.events VALUES (1, 12, 'trial.finished', 4, 'failed', '2026-11-21 23:51:45.353192+00');
INSERT INTO public.events VALUES (1, 13, 'trial.created', 5, 'running', '2026-11-21 23:51:45.372905+00');
INSERT INTO public.events VALUES (1, 14, 'trial.created', 6, 'waiting', '2026-11-21 23:51:45.403372+00');
INSERT INTO public.events VALUES (1, 15, 'trial.created', 7, 'complete', '2026-11-21 23:51:45.445748+00');
INSERT INTO public.events VALUES (1, 16, 'trial.finished', 3, 'complete', '2026-11-21 23:51:45.555959+00');
INSERT INTO public.events VALUES (1, 17, 'trial.removed', 1, 'removed', '2026-11-21 23:51:45.642039+00');
INSERT INTO public.events VALUES (1, 18, 'study.updated', NULL, 'active', '2026-11-21 23:51:45.760653+00');
INSERT INTO public.events VALUES (2, 1, 'study.updated', NULL, 'active', '2026-11-21 23:51:45.899924+00');
INSERT INTO public.events VALUES (2, 2, 'trial.created', 1, 'complete', '2026-11-21 23:51:46.057945+00');
INSERT INTO public.idempotency_keys VALUES (1, '3cc5b779a48c63b56a5c180c7c5223c8591f4c01f7d29a1c9e06ef28a18e6f90', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[1, 1]], "done": false, "reason": null}', '2026-11-21 23:51:44.415102+00');
INSERT INTO public.idempotency_keys VALUES (1, '7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[2, 1]], "done": false, "reason": null}', '2026-11-21 23:51:44.962019+00');
INSERT INTO public.idempotency_keys VALUES (1, 'fd0d3d58eb69d18d2dc3f6d46af1e629441322b3ee700194fa055e6e3bfe9c85', '52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5', '{"trials": [[3, 1]], "done": false, "reason": null}', '2026-11-21 23:51:45.258351+00');
INSERT INTO public.projects VALUES (1, 'default', '2026-11-21 23:51:43.865175+00');
INSERT INTO public.reports VALUES (2, 1, 1, 0.45, '{"value": 0.45}', '2026-11-21 23:51:45.0582+00', 1, true);
INSERT INTO public.reports VALUES (3, 1, 1, 0.35, '{"value": 0.35}', '2026-11-21 23:51:45.276346+00', 1, true);
INSERT INTO public.reports VALUES (1, 1, 1, 0.25, '{"value": 0.25}', '2026-11-21 23:51:44.58558+00', 1, false);
INSERT INTO public.rung_values VALUES (2, 0, 1, 0, 1, '[-0.45]', -0.45, false);
INSERT INTO public.rung_values VALUES (3, 0, 1, 0, 1, '[-0.35]', -0.35, false);
INSERT INTO public.space_versions VALUES (1, 1, '{"lr": {"type": "float", "low": 1e-05, "high": 1.0, "scale": "log"}, "layers": {"type": "int", "low": 1, "high": 8}, "kernel": {"type": "categorical", "choices": ["rbf", "poly"]}, "degree": {"type": "int", "low": 2, "high": 5, "when": {"kernel": ["poly"]}}}', '[]', '2026-11-21 23:51:44.159284+00');
INSERT INTO public.space_versions VALUES (2, 1, '{"x": {"type": "bool"}}', '[]', '2026-11-21 23:51:45.899924+00');
INSERT INTO public.studies VALUES (1, 1, 'eaa053cb51dab9ffa1d5d4c5', 'golden', 'active', '[{"name": "value", "direction": "maximize"}]', '[]', '{"name": "random"}', '{"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}', 7, 1, 'Grüße aus der Vergangenheit', '{"team": "vision"}', '{}', '{}', 'auto', 3, 8, 18, 1, 1, 0, 3, 0, 1, 0, 0, 1, '2026-11-21 23:51:44.415102+00', NULL, 0, '2026-11-21 23:51:44.159284+00', NULL, 13, NULL);
INSERT INTO public.studies VALUES (2, 1, 'b9ef4dcc6bf4d5d038a49dc5', 'two', 'active', '[{"name": "accuracy", "direction": "maximize"}, {"name": "latency", "direction": "minimize"}]', '[]', '{"name": "random"}', NULL, 1681871457245784, 1, '', '{}', '{}', '{}', 'auto', 3, 2, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, NULL, NULL, 0, '2026-11-21 23:51:45.899924+00', NULL, 1, NULL);
INSERT INTO public.study_log VALUES (1, 16, 'corrected', 3, '{"state": "complete", "values": {"value": 0.7}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', '{"state": "complete", "values": {"value": 0.6}, "noise": null, "cost": 2.5, "reason": "measured again", "metadata": {}}', 'measured again', '2026-11-21 23:51:45.555959+00');
INSERT INTO public.study_log VALUES (1, 17, 'removed', 1, '{"state": "complete", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', '{"state": "removed", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}', NULL, '2026-11-21 23:51:45.642039+00');
INSERT INTO public.study_log VALUES (1, 18, 'patched', NULL, '{"description": "Gr\u00fc\u00dfe"}', '{"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}', NULL, '2026-11-21 23:51:45.760653+00');
INSERT INTO public.study_tags VALUES (1, 'team', 'vision');
INSERT INTO public.trials VALUES (2, 1, 2, 'complete', 1, '{"lr": 3.154500942168433e-05, "layers": 1, "kernel": "poly", "degree": 4}', false, '18a1b8a78975585b5f7bac22dc5a0c36', 1, true, 0.9, '{"value": 0.9}', true, NULL, 2.5, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:44.962019+00', '2026-11-21 23:51:44.962019+00', '2026-11-21 23:51:45.244746+00', 7, 1, '{"value": 0.45}', 4);
INSERT INTO public.trials VALUES (4, 1, 4, 'failed', 1, '{"lr": 0.40476649209220267, "layers": 7, "kernel": "rbf"}', false, 'fbcc564709e3378ee9e8bbea84206b22', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', 'out of memory', '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:45.32489+00', '2026-11-21 23:51:45.32489+00', '2026-11-21 23:51:45.353192+00', 12, NULL, NULL, 8);
INSERT INTO public.trials VALUES (5, 1, 5, 'running', 1, '{"lr": 3.0278604396308602e-05, "layers": 2, "kernel": "rbf"}', false, '39bfc8adb8ba10dd7a06d58811420951', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', 'NF9jshmzbTEXDV-fr6QFeA', '2026-11-22 23:51:45.372905+00', 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:45.372905+00', '2026-11-21 23:51:45.372905+00', NULL, NULL, NULL, NULL, 9);
INSERT INTO public.trials VALUES (6, 1, 6, 'waiting', 0, '{"lr": 0.01, "layers": 2, "kernel": "rbf"}', false, '137e5058706a57c52bd80bb4b4c0e666', 1, true, NULL, NULL, NULL, NULL, NULL, '{}', NULL, '{"source": "enqueued", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, 1, '2026-11-21 23:51:45.403372+00', NULL, NULL, '2026-11-21 23:51:45.403372+00', NULL, NULL, NULL, NULL, NULL, 10);
INSERT INTO public.trials VALUES (7, 1, 7, 'complete', 0, '{"lr": 0.02, "layers": 3, "kernel": "rbf"}', false, '152f7d3adf33bdba7852990c30c45d19', 1, true, 0.1, '{"value": 0.1}', true, NULL, NULL, '{}', NULL, '{"source": "imported", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:45.445748+00', NULL, '2026-11-21 23:51:45.445748+00', 15, NULL, NULL, 11);
INSERT INTO public.trials VALUES (3, 1, 3, 'complete', 1, '{"lr": 0.0008918964931598657, "layers": 6, "kernel": "poly", "degree": 5}', false, '4bc23e41d320872c84632ff7dce9fb50', 1, true, 0.6, '{"value": 0.6}', true, NULL, 2.5, '{}', 'measured again', '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:45.258351+00', '2026-11-21 23:51:45.258351+00', '2026-11-21 23:51:45.309279+00', 10, 1, '{"value": 0.35}', 12);
INSERT INTO public.trials VALUES (1, 1, 1, 'removed', 1, '{"lr": 0.0002233522524001051, "layers": 4, "kernel": "poly", "degree": 5}', false, 'ee30aaba7c603c910af9cf8958956056', 1, true, 0.5, '{"value": 0.5}', true, NULL, 2.5, '{}', NULL, '{"source": "random", "prior_weight": 0.0, "speculated": false}', 'w', NULL, NULL, 86400, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:44.415102+00', '2026-11-21 23:51:44.415102+00', '2026-11-21 23:51:44.871963+00', 4, 1, '{"value": 0.25}', 13);
INSERT INTO public.trials VALUES (8, 2, 1, 'complete', 0, '{"x": true}', false, '10ca051c3026d0b14e8384f6e38be038', 1, true, NULL, '{"accuracy": 0.9, "latency": 3.0}', true, NULL, NULL, '{}', NULL, '{"source": "imported", "prior_weight": 0.0, "speculated": false}', NULL, NULL, NULL, NULL, 0, false, NULL, NULL, NULL, NULL, '2026-11-21 23:51:46.057945+00', NULL, '2026-11-21 23:51:46.057945+00', 2, NULL, NULL, 1);
SELECT pg_catalog.setval('public.audit_log_id_seq', 9, true);
SELECT pg_catalog.setval('public.jobs_id_seq', 1, false);
SELECT pg_catalog.setval('public.lessons_id_seq', 1, false);
SELECT pg_catalog.setval('public.projects_id_seq', 1, true);
SELECT pg_catalog.setval('public.studies_id_seq', 2, true);
SELECT pg_catalog.setval('public.trials_id_seq', 8, true);
SELECT pg_catalog.setval('public.uploads_id_seq', 1, false);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
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
CREATE TRIGGER audit_log_refuses BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.audit_log_refuses();
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
