-- key: mt_fe4ddba28ab09528_1Og8f_iVfWcSqQ1g5unJpEdAsUMT7y0zSFj_ZEwd_sk
BEGIN TRANSACTION;
CREATE TABLE adaptations (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	learner_id INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	summary JSON NOT NULL, 
	artefact_id VARCHAR(32) NOT NULL, 
	revision BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	CONSTRAINT fk_adaptations_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT fk_adaptations_learner_id FOREIGN KEY(learner_id) REFERENCES jobs (id) ON DELETE CASCADE, 
	CONSTRAINT fk_adaptations_artefact_id FOREIGN KEY(artefact_id) REFERENCES artefacts (id), 
	CONSTRAINT uq_adaptations_learner_id_name UNIQUE (learner_id, name)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0010');
CREATE TABLE api_keys (
	id VARCHAR(32) NOT NULL, 
	project_id INTEGER NOT NULL, 
	secret_hash BLOB NOT NULL, 
	scopes JSON NOT NULL, 
	created_at DATETIME NOT NULL, name VARCHAR(128) DEFAULT '' NOT NULL, is_instance BOOLEAN DEFAULT 0 NOT NULL, expires_at DATETIME, last_used_at DATETIME, revoked_at DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (id), 
	CONSTRAINT fk_api_keys_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO "api_keys" VALUES('fe4ddba28ab09528',1,X'55D26D97C98D857B92F4302B9FD0C9B59F78A105E917926433F926024DC6A8D9','["admin", "read", "write"]','2026-11-22 05:32:54.714000','',0,NULL,NULL,NULL);
CREATE TABLE application_versions (
    version_id TEXT NOT NULL PRIMARY KEY,
    version_name TEXT NOT NULL UNIQUE,
    version_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL);
CREATE TABLE artefact_chunks (
	artefact_id VARCHAR(32) NOT NULL, 
	position BIGINT NOT NULL, 
	content BLOB NOT NULL, 
	CONSTRAINT pk_artefact_chunks PRIMARY KEY (artefact_id, position), 
	CONSTRAINT fk_artefact_chunks_artefact_id FOREIGN KEY(artefact_id) REFERENCES artefacts (id) ON DELETE CASCADE
);
CREATE TABLE artefacts (
	id VARCHAR(32) NOT NULL, 
	project_id INTEGER NOT NULL, 
	size BIGINT NOT NULL, 
	sha256 VARCHAR(64), 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_artefacts PRIMARY KEY (id), 
	CONSTRAINT fk_artefacts_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE audit_log (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	"by" VARCHAR(32) NOT NULL, 
	action VARCHAR(32) NOT NULL, 
	target TEXT NOT NULL, 
	details JSON NOT NULL, 
	CONSTRAINT fk_audit_log_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO "audit_log" VALUES(1,1,'2026-11-22 05:32:54.714000','command line','key.created','keys/fe4ddba28ab09528','{"name": "", "scopes": ["admin", "read", "write"], "instance": false, "expires_at": null}');
INSERT INTO "audit_log" VALUES(2,1,'2026-11-22 05:32:55.291000','fe4ddba28ab09528','study.created','studies/golden','{}');
INSERT INTO "audit_log" VALUES(3,1,'2026-11-22 05:32:55.754000','fe4ddba28ab09528','trial.added','studies/golden/trials/6','{"n_trials": 1, "imported": 0}');
INSERT INTO "audit_log" VALUES(4,1,'2026-11-22 05:32:55.764000','fe4ddba28ab09528','trial.added','studies/golden/trials/7','{"n_trials": 1, "imported": 1}');
INSERT INTO "audit_log" VALUES(5,1,'2026-11-22 05:32:55.775000','fe4ddba28ab09528','trial.corrected','studies/golden/trials/3','{"before": {"values": {"value": 0.7}, "reason": null}, "after": {"values": {"value": 0.6}, "reason": "measured again"}, "reason": "measured again"}');
INSERT INTO "audit_log" VALUES(6,1,'2026-11-22 05:32:55.791000','fe4ddba28ab09528','trial.removed','studies/golden/trials/1','{"before": {"state": "complete"}, "after": {"state": "removed"}, "reason": null}');
INSERT INTO "audit_log" VALUES(7,1,'2026-11-22 05:32:55.806000','fe4ddba28ab09528','study.changed','studies/golden','{"before": {"description": "Gr\u00fc\u00dfe"}, "after": {"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}}');
INSERT INTO "audit_log" VALUES(8,1,'2026-11-22 05:32:55.823000','fe4ddba28ab09528','study.created','studies/two','{}');
INSERT INTO "audit_log" VALUES(9,1,'2026-11-22 05:32:55.838000','fe4ddba28ab09528','trial.added','studies/two/trials/1','{"n_trials": 1, "imported": 1}');
CREATE TABLE dbos_migrations (version INTEGER NOT NULL PRIMARY KEY);
INSERT INTO "dbos_migrations" VALUES(125);
CREATE TABLE events (
	study_id INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	type VARCHAR(32) NOT NULL, 
	number BIGINT, 
	state VARCHAR(16) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (study_id, revision), 
	CONSTRAINT fk_events_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(1,1,'study.updated',NULL,'active','2026-11-22 05:32:55.291000');
INSERT INTO "events" VALUES(1,2,'trial.created',1,'running','2026-11-22 05:32:55.537000');
INSERT INTO "events" VALUES(1,3,'trial.reported',1,'running','2026-11-22 05:32:55.624000');
INSERT INTO "events" VALUES(1,4,'trial.finished',1,'complete','2026-11-22 05:32:55.647000');
INSERT INTO "events" VALUES(1,5,'trial.created',2,'running','2026-11-22 05:32:55.658000');
INSERT INTO "events" VALUES(1,6,'trial.reported',2,'running','2026-11-22 05:32:55.670000');
INSERT INTO "events" VALUES(1,7,'trial.finished',2,'complete','2026-11-22 05:32:55.689000');
INSERT INTO "events" VALUES(1,8,'trial.created',3,'running','2026-11-22 05:32:55.701000');
INSERT INTO "events" VALUES(1,9,'trial.reported',3,'running','2026-11-22 05:32:55.710000');
INSERT INTO "events" VALUES(1,10,'trial.finished',3,'complete','2026-11-22 05:32:55.721000');
INSERT INTO "events" VALUES(1,11,'trial.created',4,'running','2026-11-22 05:32:55.728000');
INSERT INTO "events" VALUES(1,12,'trial.finished',4,'failed','2026-11-22 05:32:55.736000');
INSERT INTO "events" VALUES(1,13,'trial.created',5,'running','2026-11-22 05:32:55.744000');
INSERT INTO "events" VALUES(1,14,'trial.created',6,'waiting','2026-11-22 05:32:55.754000');
INSERT INTO "events" VALUES(1,15,'trial.created',7,'complete','2026-11-22 05:32:55.764000');
INSERT INTO "events" VALUES(1,16,'trial.finished',3,'complete','2026-11-22 05:32:55.775000');
INSERT INTO "events" VALUES(1,17,'trial.removed',1,'removed','2026-11-22 05:32:55.791000');
INSERT INTO "events" VALUES(1,18,'study.updated',NULL,'active','2026-11-22 05:32:55.806000');
INSERT INTO "events" VALUES(2,1,'study.updated',NULL,'active','2026-11-22 05:32:55.823000');
INSERT INTO "events" VALUES(2,2,'trial.created',1,'complete','2026-11-22 05:32:55.838000');
CREATE TABLE idempotency_keys (
	project_id INTEGER NOT NULL, 
	key_hash VARCHAR(64) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	reference JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_idempotency_keys PRIMARY KEY (project_id, key_hash), 
	CONSTRAINT fk_idempotency_keys_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO "idempotency_keys" VALUES(1,'3cc5b779a48c63b56a5c180c7c5223c8591f4c01f7d29a1c9e06ef28a18e6f90','52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5','{"trials": [[1, 1]], "done": false, "reason": null}','2026-11-22 05:32:55.537000');
INSERT INTO "idempotency_keys" VALUES(1,'7d1d224534978e135879f6fb09b89e7996c7e91e2982bf12915818c8c4a692ab','52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5','{"trials": [[2, 1]], "done": false, "reason": null}','2026-11-22 05:32:55.658000');
INSERT INTO "idempotency_keys" VALUES(1,'fd0d3d58eb69d18d2dc3f6d46af1e629441322b3ee700194fa055e6e3bfe9c85','52a74a94c362a4c66393ac569a25ac0179362a5c0a659c2c8965e9c20f817fe5','{"trials": [[3, 1]], "done": false, "reason": null}','2026-11-22 05:32:55.701000');
CREATE TABLE job_log (
	job_id INTEGER NOT NULL, 
	position BIGINT NOT NULL, 
	at DATETIME NOT NULL, 
	text TEXT NOT NULL, 
	CONSTRAINT pk_job_log PRIMARY KEY (job_id, position), 
	CONSTRAINT fk_job_log_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE job_parts (
	job_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	task JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	progress FLOAT NOT NULL, 
	attempts BIGINT NOT NULL, 
	stalled BIGINT NOT NULL, 
	dispatches BIGINT NOT NULL, 
	error TEXT, 
	result JSON, 
	checkpoint_id VARCHAR(32), 
	started_at DATETIME, 
	finished_at DATETIME, 
	worker VARCHAR(32), 
	CONSTRAINT pk_job_parts PRIMARY KEY (job_id, number), 
	CONSTRAINT ck_job_parts_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')), 
	CONSTRAINT fk_job_parts_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES artefacts (id), 
	CONSTRAINT fk_job_parts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	uid VARCHAR(32) NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	body JSON NOT NULL, 
	queue VARCHAR(16) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	progress FLOAT NOT NULL, 
	attempts BIGINT NOT NULL, 
	stalled BIGINT NOT NULL, 
	dispatches BIGINT NOT NULL, 
	error TEXT, 
	result JSON, 
	checkpoint_id VARCHAR(32), 
	started_at DATETIME, 
	finished_at DATETIME, 
	revision BIGINT NOT NULL, 
	model_id VARCHAR(32), 
	created_at DATETIME NOT NULL, 
	CONSTRAINT ck_jobs_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')), 
	CONSTRAINT fk_jobs_checkpoint_id FOREIGN KEY(checkpoint_id) REFERENCES artefacts (id), 
	CONSTRAINT fk_jobs_model_id FOREIGN KEY(model_id) REFERENCES artefacts (id), 
	CONSTRAINT fk_jobs_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT uq_jobs_project_id_kind_name UNIQUE (project_id, kind, name), 
	CONSTRAINT uq_jobs_uid UNIQUE (uid)
);
CREATE TABLE lesson_words (
	lesson_id INTEGER NOT NULL, 
	word VARCHAR(129) NOT NULL, 
	project_id INTEGER NOT NULL, 
	CONSTRAINT pk_lesson_words PRIMARY KEY (lesson_id, word), 
	CONSTRAINT fk_lesson_words_lesson_id FOREIGN KEY(lesson_id) REFERENCES lessons (id) ON DELETE CASCADE, 
	CONSTRAINT fk_lesson_words_project_id FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE lessons (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	study_id INTEGER, 
	name VARCHAR(128) NOT NULL, 
	is_latest BOOLEAN NOT NULL, 
	n_changes BIGINT NOT NULL, 
	n_results BIGINT NOT NULL, 
	signature VARCHAR(64) NOT NULL, 
	space JSON NOT NULL, 
	description TEXT NOT NULL, 
	tags JSON NOT NULL, 
	metafeatures JSON NOT NULL, 
	objectives JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT fk_lessons_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT fk_lessons_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
CREATE TABLE notifications (
    message_uuid TEXT NOT NULL DEFAULT (hex(randomblob(16))) PRIMARY KEY,
    destination_uuid TEXT NOT NULL,
    topic TEXT,
    message TEXT NOT NULL,
    created_at_epoch_ms INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000), "serialization" TEXT DEFAULT NULL, "consumed" BOOLEAN NOT NULL DEFAULT FALSE, consumed_by_function_id INTEGER,
    FOREIGN KEY (destination_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE "operation_outputs" (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    PRIMARY KEY (workflow_uuid, function_id)
);
CREATE TABLE prior_sources (
	study_id INTEGER NOT NULL, 
	lesson_id INTEGER NOT NULL, 
	position BIGINT NOT NULL, 
	is_taken BOOLEAN NOT NULL, 
	similarity FLOAT NOT NULL, 
	why TEXT NOT NULL, 
	cap FLOAT NOT NULL, 
	CONSTRAINT pk_prior_sources PRIMARY KEY (study_id, lesson_id), 
	CONSTRAINT fk_prior_sources_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE, 
	CONSTRAINT fk_prior_sources_lesson_id FOREIGN KEY(lesson_id) REFERENCES lessons (id) ON DELETE CASCADE
);
CREATE TABLE projects (
	id INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_projects PRIMARY KEY (id), 
	CONSTRAINT uq_projects_name UNIQUE (name)
);
INSERT INTO "projects" VALUES(1,'default','2026-11-22 05:32:52.411000');
CREATE TABLE queues (
    queue_id TEXT PRIMARY KEY DEFAULT (hex(randomblob(16))),
    name TEXT NOT NULL UNIQUE,
    concurrency INTEGER,
    worker_concurrency INTEGER,
    rate_limit_max INTEGER,
    rate_limit_period_sec REAL,
    priority_enabled BOOLEAN NOT NULL DEFAULT FALSE,
    partition_queue BOOLEAN NOT NULL DEFAULT FALSE,
    polling_interval_sec REAL NOT NULL DEFAULT 1.0,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
, "application_name" TEXT DEFAULT NULL, "partition_concurrency" INTEGER DEFAULT NULL, "partition_worker_concurrency" INTEGER DEFAULT NULL, "partition_rate_limit_max" INTEGER DEFAULT NULL, "partition_rate_limit_period_sec" REAL DEFAULT NULL);
CREATE TABLE "reports" (
	trial_id INTEGER NOT NULL, 
	attempt BIGINT NOT NULL, 
	step BIGINT NOT NULL, 
	value FLOAT, 
	measured JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	study_id BIGINT NOT NULL, 
	is_current BOOLEAN NOT NULL, 
	CONSTRAINT pk_reports PRIMARY KEY (trial_id, attempt, step), 
	CONSTRAINT fk_reports_trial_id FOREIGN KEY(trial_id) REFERENCES trials (id) ON DELETE CASCADE
);
INSERT INTO "reports" VALUES(1,1,1,0.25,'{"value": 0.25}','2026-11-22 05:32:55.624000',1,0);
INSERT INTO "reports" VALUES(2,1,1,0.45,'{"value": 0.45}','2026-11-22 05:32:55.670000',1,1);
INSERT INTO "reports" VALUES(3,1,1,0.35,'{"value": 0.35}','2026-11-22 05:32:55.710000',1,1);
CREATE TABLE rung_values (
	trial_id INTEGER NOT NULL, 
	rung BIGINT NOT NULL, 
	study_id BIGINT NOT NULL, 
	bracket BIGINT NOT NULL, 
	step BIGINT NOT NULL, 
	losses JSON, 
	loss FLOAT, 
	may_go_on BOOLEAN NOT NULL, 
	CONSTRAINT pk_rung_values PRIMARY KEY (trial_id, rung), 
	CONSTRAINT fk_rung_values_trial_id FOREIGN KEY(trial_id) REFERENCES trials (id) ON DELETE CASCADE
);
INSERT INTO "rung_values" VALUES(2,0,1,0,1,'[-0.45]',-0.45,0);
INSERT INTO "rung_values" VALUES(3,0,1,0,1,'[-0.35]',-0.35,0);
CREATE TABLE space_versions (
	study_id INTEGER NOT NULL, 
	version BIGINT NOT NULL, 
	space JSON NOT NULL, 
	constraints JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_space_versions PRIMARY KEY (study_id, version), 
	CONSTRAINT fk_space_versions_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
INSERT INTO "space_versions" VALUES(1,1,'{"lr": {"type": "float", "low": 1e-05, "high": 1.0, "scale": "log"}, "layers": {"type": "int", "low": 1, "high": 8}, "kernel": {"type": "categorical", "choices": ["rbf", "poly"]}, "degree": {"type": "int", "low": 2, "high": 5, "when": {"kernel": ["poly"]}}}','[]','2026-11-22 05:32:55.291000');
INSERT INTO "space_versions" VALUES(2,1,'{"x": {"type": "bool"}}','[]','2026-11-22 05:32:55.823000');
CREATE TABLE streams (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    "offset" INTEGER NOT NULL, function_id INTEGER NOT NULL DEFAULT 0, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key, "offset"),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE studies (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	uid VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	objectives JSON NOT NULL, 
	outcomes JSON NOT NULL, 
	algorithm JSON NOT NULL, 
	pruning JSON, 
	seed BIGINT NOT NULL, 
	space_version BIGINT NOT NULL, 
	description TEXT NOT NULL, 
	tags JSON NOT NULL, 
	stop JSON NOT NULL, 
	metafeatures JSON NOT NULL, 
	warm_start TEXT NOT NULL, 
	max_retries BIGINT NOT NULL, 
	next_number BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	n_waiting BIGINT NOT NULL, 
	n_running BIGINT NOT NULL, 
	n_paused BIGINT NOT NULL, 
	n_complete BIGINT NOT NULL, 
	n_pruned BIGINT NOT NULL, 
	n_failed BIGINT NOT NULL, 
	n_infeasible BIGINT NOT NULL, 
	n_lost BIGINT NOT NULL, 
	n_imported BIGINT NOT NULL, 
	first_ask_at DATETIME, 
	paused_at DATETIME, 
	paused_seconds FLOAT NOT NULL, 
	created_at DATETIME NOT NULL, 
	deleted_at DATETIME, n_changes BIGINT DEFAULT 0 NOT NULL, knowledge_version BIGINT, 
	CONSTRAINT ck_studies_state CHECK (state IN ('active', 'paused', 'stopped')), 
	CONSTRAINT fk_studies_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT uq_studies_uid UNIQUE (uid)
);
INSERT INTO "studies" VALUES(1,1,'4f9534a5610eacef8d1d3d43','golden','active','[{"name": "value", "direction": "maximize"}]','[]','{"name": "random"}','{"rule": "asha", "min_step": 1, "max_step": 9, "eta": 3}',7,1,'Grüße aus der Vergangenheit','{"team": "vision"}','{}','{}','auto',3,8,18,1,1,0,3,0,1,0,0,1,'2026-11-22 05:32:55.537000',NULL,0.0,'2026-11-22 05:32:55.291000',NULL,13,NULL);
INSERT INTO "studies" VALUES(2,1,'c65e397edfa664d89f7daa95','two','active','[{"name": "accuracy", "direction": "maximize"}, {"name": "latency", "direction": "minimize"}]','[]','{"name": "random"}',NULL,364892861212195,1,'','{}','{}','{}','auto',3,2,2,0,0,0,1,0,0,0,0,1,NULL,NULL,0.0,'2026-11-22 05:32:55.823000',NULL,1,NULL);
CREATE TABLE study_log (
	study_id INTEGER NOT NULL, 
	revision BIGINT NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	number BIGINT, 
	"before" JSON, 
	"after" JSON, 
	reason TEXT, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT pk_study_log PRIMARY KEY (study_id, revision), 
	CONSTRAINT fk_study_log_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
INSERT INTO "study_log" VALUES(1,16,'corrected',3,'{"state": "complete", "values": {"value": 0.7}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}','{"state": "complete", "values": {"value": 0.6}, "noise": null, "cost": 2.5, "reason": "measured again", "metadata": {}}','measured again','2026-11-22 05:32:55.775000');
INSERT INTO "study_log" VALUES(1,17,'removed',1,'{"state": "complete", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}','{"state": "removed", "values": {"value": 0.5}, "noise": null, "cost": 2.5, "reason": null, "metadata": {}}',NULL,'2026-11-22 05:32:55.791000');
INSERT INTO "study_log" VALUES(1,18,'patched',NULL,'{"description": "Gr\u00fc\u00dfe"}','{"description": "Gr\u00fc\u00dfe aus der Vergangenheit"}',NULL,'2026-11-22 05:32:55.806000');
CREATE TABLE study_tags (
	study_id INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	value TEXT NOT NULL, 
	CONSTRAINT pk_study_tags PRIMARY KEY (study_id, name), 
	CONSTRAINT fk_study_tags_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE
);
INSERT INTO "study_tags" VALUES(1,'team','vision');
CREATE TABLE trials (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	number BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempt BIGINT NOT NULL, 
	params JSON NOT NULL, 
	is_partial BOOLEAN NOT NULL, 
	config_key VARCHAR(64), 
	space_version BIGINT NOT NULL, 
	in_space BOOLEAN NOT NULL, 
	value FLOAT, 
	measured JSON, 
	feasible BOOLEAN, 
	noise FLOAT, 
	cost FLOAT, 
	metadata JSON NOT NULL, 
	reason TEXT, 
	origin JSON NOT NULL, 
	worker TEXT, 
	lease_token VARCHAR(64), 
	lease_expires_at DATETIME, 
	lease_seconds FLOAT, 
	expiries BIGINT NOT NULL, 
	stop_requested BOOLEAN NOT NULL, 
	waiting_rank BIGINT, 
	waiting_since DATETIME, 
	checkpoint TEXT, 
	until_step BIGINT, 
	created_at DATETIME NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	finished_revision BIGINT, last_step BIGINT, last_measured JSON, last_change BIGINT DEFAULT 0 NOT NULL, 
	CONSTRAINT pk_trials PRIMARY KEY (id), 
	CONSTRAINT ck_trials_lease CHECK (state <> 'running' OR (lease_token IS NOT NULL AND lease_expires_at IS NOT NULL)), 
	CONSTRAINT ck_trials_state CHECK (state IN ('waiting','running','paused','complete','pruned','failed','infeasible','lost','removed')), 
	CONSTRAINT ck_trials_number CHECK (number >= 1), 
	CONSTRAINT fk_trials_study_id FOREIGN KEY(study_id) REFERENCES studies (id) ON DELETE CASCADE, 
	CONSTRAINT uq_trials_study_id_number UNIQUE (study_id, number)
);
INSERT INTO "trials" VALUES(1,1,1,'removed',1,'{"lr": 0.0002233522524001051, "layers": 4, "kernel": "poly", "degree": 5}',0,'ee30aaba7c603c910af9cf8958956056',1,1,0.5,'{"value": 0.5}',1,NULL,2.5,'{}',NULL,'{"source": "random", "prior_weight": 0.0, "speculated": false}','w',NULL,NULL,86400.0,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.537000','2026-11-22 05:32:55.537000','2026-11-22 05:32:55.647000',4,1,'{"value": 0.25}',13);
INSERT INTO "trials" VALUES(2,1,2,'complete',1,'{"lr": 3.154500942168433e-05, "layers": 1, "kernel": "poly", "degree": 4}',0,'18a1b8a78975585b5f7bac22dc5a0c36',1,1,0.9,'{"value": 0.9}',1,NULL,2.5,'{}',NULL,'{"source": "random", "prior_weight": 0.0, "speculated": false}','w',NULL,NULL,86400.0,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.658000','2026-11-22 05:32:55.658000','2026-11-22 05:32:55.689000',7,1,'{"value": 0.45}',4);
INSERT INTO "trials" VALUES(3,1,3,'complete',1,'{"lr": 0.0008918964931598657, "layers": 6, "kernel": "poly", "degree": 5}',0,'4bc23e41d320872c84632ff7dce9fb50',1,1,0.6,'{"value": 0.6}',1,NULL,2.5,'{}','measured again','{"source": "random", "prior_weight": 0.0, "speculated": false}','w',NULL,NULL,86400.0,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.701000','2026-11-22 05:32:55.701000','2026-11-22 05:32:55.721000',10,1,'{"value": 0.35}',12);
INSERT INTO "trials" VALUES(4,1,4,'failed',1,'{"lr": 0.40476649209220267, "layers": 7, "kernel": "rbf"}',0,'fbcc564709e3378ee9e8bbea84206b22',1,1,NULL,NULL,NULL,NULL,NULL,'{}','out of memory','{"source": "random", "prior_weight": 0.0, "speculated": false}','w',NULL,NULL,86400.0,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.728000','2026-11-22 05:32:55.728000','2026-11-22 05:32:55.736000',12,NULL,NULL,8);
INSERT INTO "trials" VALUES(5,1,5,'running',1,'{"lr": 3.0278604396308602e-05, "layers": 2, "kernel": "rbf"}',0,'39bfc8adb8ba10dd7a06d58811420951',1,1,NULL,NULL,NULL,NULL,NULL,'{}',NULL,'{"source": "random", "prior_weight": 0.0, "speculated": false}','w','eeX6275TUi0DBy9oPDfv2Q','2026-11-23 05:32:55.744000',86400.0,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.744000','2026-11-22 05:32:55.744000',NULL,NULL,NULL,NULL,9);
INSERT INTO "trials" VALUES(6,1,6,'waiting',0,'{"lr": 0.01, "layers": 2, "kernel": "rbf"}',0,'137e5058706a57c52bd80bb4b4c0e666',1,1,NULL,NULL,NULL,NULL,NULL,'{}',NULL,'{"source": "enqueued", "prior_weight": 0.0, "speculated": false}',NULL,NULL,NULL,NULL,0,0,1,'2026-11-22 05:32:55.754000',NULL,NULL,'2026-11-22 05:32:55.754000',NULL,NULL,NULL,NULL,NULL,10);
INSERT INTO "trials" VALUES(7,1,7,'complete',0,'{"lr": 0.02, "layers": 3, "kernel": "rbf"}',0,'152f7d3adf33bdba7852990c30c45d19',1,1,0.1,'{"value": 0.1}',1,NULL,NULL,'{}',NULL,'{"source": "imported", "prior_weight": 0.0, "speculated": false}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.764000',NULL,'2026-11-22 05:32:55.764000',15,NULL,NULL,11);
INSERT INTO "trials" VALUES(8,2,1,'complete',0,'{"x": true}',0,'10ca051c3026d0b14e8384f6e38be038',1,1,NULL,'{"accuracy": 0.9, "latency": 3.0}',1,NULL,NULL,'{}',NULL,'{"source": "imported", "prior_weight": 0.0, "speculated": false}',NULL,NULL,NULL,NULL,0,0,NULL,NULL,NULL,NULL,'2026-11-22 05:32:55.838000',NULL,'2026-11-22 05:32:55.838000',2,NULL,NULL,1);
CREATE TABLE uploads (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	project_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	summary JSON NOT NULL, 
	artefact_id VARCHAR(32) NOT NULL, 
	created_at DATETIME NOT NULL, 
	CONSTRAINT fk_uploads_project_id FOREIGN KEY(project_id) REFERENCES projects (id), 
	CONSTRAINT fk_uploads_artefact_id FOREIGN KEY(artefact_id) REFERENCES artefacts (id), 
	CONSTRAINT uq_uploads_project_id_kind_name UNIQUE (project_id, kind, name)
);
CREATE TABLE workers (
	id VARCHAR(32) NOT NULL, 
	address TEXT NOT NULL, 
	machine TEXT, 
	process TEXT, 
	capacity BIGINT NOT NULL, 
	has_gpu BOOLEAN NOT NULL, 
	version VARCHAR(32) NOT NULL, 
	started_at DATETIME NOT NULL, 
	seen_at DATETIME NOT NULL, 
	CONSTRAINT pk_workers PRIMARY KEY (id)
);
CREATE TABLE workflow_events (
    workflow_uuid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid) 
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_events_history (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL, "serialization" TEXT DEFAULT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key),
    FOREIGN KEY (workflow_uuid) REFERENCES workflow_status(workflow_uuid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000)
);
CREATE TABLE workflow_schedules (
    schedule_id TEXT PRIMARY KEY,
    schedule_name TEXT NOT NULL UNIQUE,
    workflow_name TEXT NOT NULL,
    workflow_class_name TEXT,
    schedule TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'ACTIVE',
    context TEXT NOT NULL
, "last_fired_at" TEXT DEFAULT NULL, "automatic_backfill" BOOLEAN NOT NULL DEFAULT FALSE, "cron_timezone" TEXT DEFAULT NULL, "queue_name" TEXT DEFAULT NULL, "application_name" TEXT DEFAULT NULL);
CREATE TABLE workflow_status (
    workflow_uuid TEXT PRIMARY KEY,
    status TEXT,
    name TEXT,
    authenticated_user TEXT,
    assumed_role TEXT,
    authenticated_roles TEXT,
    request TEXT,
    output TEXT,
    error TEXT,
    executor_id TEXT,
    created_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    updated_at INTEGER NOT NULL DEFAULT (strftime('%s','now') * 1000),
    application_version TEXT,
    application_id TEXT,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    recovery_attempts INTEGER DEFAULT 0,
    queue_name TEXT,
    workflow_timeout_ms INTEGER,
    workflow_deadline_epoch_ms INTEGER,
    inputs TEXT,
    started_at_epoch_ms INTEGER,
    deduplication_id TEXT,
    priority INTEGER NOT NULL DEFAULT 0
, queue_partition_key TEXT, forked_from TEXT, "owner_xid" TEXT DEFAULT NULL, "parent_workflow_id" TEXT DEFAULT NULL, "serialization" TEXT DEFAULT NULL, "delay_until_epoch_ms" BIGINT DEFAULT NULL, "was_forked_from" BOOLEAN NOT NULL DEFAULT FALSE, "rate_limited" BOOLEAN NOT NULL DEFAULT FALSE, "completed_at" BIGINT, "attributes" TEXT, "schedule_name" TEXT, "debounce_deadline_epoch_ms" BIGINT DEFAULT NULL, "is_debounced" BOOLEAN NOT NULL DEFAULT FALSE, "application_name" TEXT DEFAULT NULL, "creator_xid" TEXT DEFAULT NULL);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE INDEX ix_studies_project_id ON studies (project_id);
CREATE UNIQUE INDEX uq_studies_project_id_name ON studies (project_id, name) WHERE deleted_at IS NULL;
CREATE INDEX ix_study_tags_name_value ON study_tags (name, value);
CREATE INDEX ix_trials_lease_expires_at ON trials (lease_expires_at) WHERE state = 'running';
CREATE INDEX ix_trials_study_id_config_key ON trials (study_id, config_key);
CREATE INDEX ix_trials_study_id_state_waiting ON trials (study_id, state, waiting_rank, waiting_since, number);
CREATE INDEX ix_trials_study_id_value ON trials (study_id, state, value, number);
CREATE INDEX ix_rung_values_study_id_loss ON rung_values (study_id, bracket, rung, loss, trial_id);
CREATE INDEX ix_rung_values_study_id_may_go_on ON rung_values (study_id, may_go_on, bracket, rung, loss, trial_id);
CREATE INDEX ix_reports_study_id_step ON reports (study_id, step, is_current, value);
CREATE INDEX ix_trials_study_id_last_change ON trials (study_id, last_change);
CREATE INDEX ix_trials_study_id_finished_revision ON trials (study_id, state, finished_revision);
CREATE INDEX ix_audit_log_project_id_id ON audit_log (project_id, id);
CREATE TRIGGER audit_log_refuses_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_log_refuses_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE INDEX ix_artefacts_created_at ON artefacts (created_at);
CREATE INDEX ix_artefacts_project_id ON artefacts (project_id);
CREATE INDEX ix_jobs_unfinished ON jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX ix_lessons_project_id_signature ON lessons (project_id, signature, id);
CREATE INDEX ix_lessons_study_id ON lessons (study_id);
CREATE INDEX ix_lessons_project_id_name ON lessons (project_id, name);
CREATE INDEX ix_lesson_words_project_id_word ON lesson_words (project_id, word, lesson_id);
CREATE INDEX ix_prior_sources_lesson_id ON prior_sources (lesson_id);
CREATE INDEX workflow_status_created_at_index ON workflow_status (created_at);
CREATE INDEX idx_workflow_topic ON notifications (destination_uuid, topic);
CREATE INDEX "idx_workflow_status_delayed" ON "workflow_status" ("delay_until_epoch_ms") WHERE status = 'DELAYED';
CREATE INDEX "idx_workflow_status_forked_from" ON "workflow_status" ("forked_from") WHERE "forked_from" IS NOT NULL;
CREATE INDEX "idx_workflow_status_parent_workflow_id" ON "workflow_status" ("parent_workflow_id") WHERE "parent_workflow_id" IS NOT NULL;
CREATE UNIQUE INDEX "uq_workflow_status_dedup_id" ON "workflow_status" ("queue_name", "deduplication_id") WHERE "deduplication_id" IS NOT NULL;
CREATE INDEX "idx_workflow_status_pending" ON "workflow_status" ("created_at") WHERE "status" = 'PENDING';
CREATE INDEX "idx_workflow_status_failed" ON "workflow_status" ("status", "created_at") WHERE "status" IN ('ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED');
CREATE INDEX "idx_workflow_status_rate_limited" ON "workflow_status" ("queue_name", "started_at_epoch_ms") WHERE "rate_limited" = TRUE;
CREATE INDEX "idx_workflow_status_completed_at" ON "workflow_status" ("completed_at") WHERE "completed_at" IS NOT NULL;
CREATE INDEX "idx_workflow_status_started_at" ON "workflow_status" ("started_at_epoch_ms") WHERE "started_at_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_workflow_status_schedule_name" ON "workflow_status" ("schedule_name") WHERE "schedule_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_owner_version"
    ON application_versions ("application_name", "version_name")
    WHERE "application_name" IS NOT NULL;
CREATE UNIQUE INDEX "uq_application_versions_unclaimed_version"
    ON application_versions ("version_name")
    WHERE "application_name" IS NULL;
CREATE INDEX idx_workflow_input_retention
    ON workflow_input (retention_timestamp);
CREATE INDEX idx_workflow_output_retention
    ON workflow_output (retention_timestamp);
CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
CREATE INDEX "idx_workflow_status_in_flight_v2" ON "workflow_status" ("queue_name", "status", "priority", "created_at", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING');
CREATE INDEX "idx_workflow_status_partition_dequeue_v3" ON "workflow_status" ("queue_name", "status", "queue_partition_key", "priority", "created_at", "workflow_uuid", "application_name") WHERE "status" IN ('ENQUEUED', 'PENDING') AND "queue_partition_key" IS NOT NULL;
CREATE INDEX "idx_operation_outputs_completed_at_function_name_v2" ON "operation_outputs" ("completed_at_epoch_ms", "function_name", "application_name");
CREATE INDEX "idx_workflow_status_deadline" ON "workflow_status" ("workflow_deadline_epoch_ms") WHERE "status" IN ('ENQUEUED', 'PENDING', 'DELAYED') AND "workflow_deadline_epoch_ms" IS NOT NULL;
CREATE INDEX "idx_application_versions_timestamp" ON "application_versions" ("version_timestamp" DESC);
CREATE INDEX "idx_application_versions_owner_timestamp" ON "application_versions" ("application_name", "version_timestamp" DESC);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit_log',9);
INSERT INTO "sqlite_sequence" VALUES('studies',2);
COMMIT;
