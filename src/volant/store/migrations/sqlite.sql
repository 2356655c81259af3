CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)

CREATE TABLE datasets (
	name TEXT NOT NULL,
	contract TEXT,
	created_at DATETIME NOT NULL,
	latest_version BIGINT,
	rows BIGINT NOT NULL,
	quarantined BIGINT NOT NULL,
	CONSTRAINT pk_datasets PRIMARY KEY (name)
)

CREATE TABLE dataset_versions (
	dataset TEXT NOT NULL,
	version BIGINT NOT NULL,
	table_version BIGINT NOT NULL,
	rows_added BIGINT NOT NULL,
	rows_total BIGINT NOT NULL,
	rows_quarantined BIGINT NOT NULL,
	push_id TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	CONSTRAINT pk_dataset_versions PRIMARY KEY (dataset, version),
	CONSTRAINT fk_dataset_versions_dataset FOREIGN KEY(dataset) REFERENCES datasets (name),
	CONSTRAINT uq_dataset_versions_push_id UNIQUE (push_id)
)

CREATE TABLE pushes (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	dataset TEXT NOT NULL,
	source TEXT NOT NULL,
	files TEXT NOT NULL,
	status TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	run_id TEXT,
	version BIGINT,
	rows_added BIGINT NOT NULL,
	rows_quarantined BIGINT NOT NULL,
	reason TEXT,
	CONSTRAINT fk_pushes_dataset FOREIGN KEY(dataset) REFERENCES datasets (name),
	CONSTRAINT uq_pushes_id UNIQUE (id)
)

CREATE INDEX ix_pushes_dataset_seq ON pushes (dataset, seq)

CREATE TABLE loops (
	name TEXT NOT NULL,
	generation BIGINT NOT NULL,
	source TEXT NOT NULL,
	spec TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	code_dir TEXT,
	code_hash TEXT,
	CONSTRAINT pk_loops PRIMARY KEY (name)
)

CREATE TABLE triggers (
	id TEXT NOT NULL,
	loop TEXT NOT NULL,
	kind TEXT NOT NULL,
	dataset TEXT,
	cron TEXT,
	next_at DATETIME,
	CONSTRAINT pk_triggers PRIMARY KEY (id),
	CONSTRAINT fk_triggers_loop FOREIGN KEY(loop) REFERENCES loops (name) ON DELETE CASCADE
)

CREATE INDEX ix_triggers_dataset ON triggers (dataset)

CREATE INDEX ix_triggers_loop ON triggers (loop)

CREATE INDEX ix_triggers_next_at ON triggers (next_at)

CREATE TABLE firings (
	event_id TEXT NOT NULL,
	trigger_id TEXT NOT NULL,
	run_id TEXT,
	reason TEXT NOT NULL,
	time DATETIME NOT NULL,
	CONSTRAINT pk_firings PRIMARY KEY (event_id, trigger_id)
)

CREATE TABLE runs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	workflow TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	loop TEXT,
	generation BIGINT,
	event_id TEXT,
	"trigger" TEXT,
	queue_key TEXT,
	retry_of TEXT,
	from_step TEXT, project TEXT, codeset TEXT, started_by TEXT, workflow_name TEXT,
	CONSTRAINT uq_runs_id UNIQUE (id)
)

CREATE INDEX ix_runs_loop_seq ON runs (loop, seq)

CREATE TABLE events (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	type TEXT NOT NULL,
	source TEXT NOT NULL,
	subject TEXT NOT NULL,
	time DATETIME NOT NULL,
	data TEXT NOT NULL,
	dispatched_at DATETIME,
	CONSTRAINT uq_events_id UNIQUE (id)
)

CREATE INDEX ix_events_pending ON events (seq) WHERE dispatched_at IS NULL

CREATE INDEX ix_events_subject_seq ON events (subject, seq)

CREATE TABLE decisions (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	subject TEXT NOT NULL,
	outcome TEXT NOT NULL,
	reason TEXT NOT NULL,
	time DATETIME NOT NULL,
	loop TEXT,
	run_id TEXT,
	event_id TEXT,
	rules TEXT NOT NULL,
	details TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	CONSTRAINT uq_decisions_id UNIQUE (id)
)

CREATE INDEX ix_decisions_loop_seq ON decisions (loop, seq)

CREATE TABLE tracked_runs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	experiment_id TEXT NOT NULL,
	name TEXT NOT NULL,
	status TEXT NOT NULL,
	started_at DATETIME NOT NULL,
	ended_at DATETIME,
	artifact_uri TEXT NOT NULL, user TEXT DEFAULT '' NOT NULL, lifecycle TEXT DEFAULT 'active' NOT NULL,
	CONSTRAINT fk_tracked_runs_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id),
	CONSTRAINT uq_tracked_runs_id UNIQUE (id)
)

CREATE TABLE params (
	run_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_params PRIMARY KEY (run_id, "key"),
	CONSTRAINT fk_params_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE
)

CREATE TABLE tags (
	run_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_tags PRIMARY KEY (run_id, "key"),
	CONSTRAINT fk_tags_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE
)

CREATE TABLE models (
	name TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	latest_version BIGINT NOT NULL, project TEXT DEFAULT 'default' NOT NULL,
	CONSTRAINT pk_models PRIMARY KEY (name)
)

CREATE TABLE model_versions (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	model TEXT NOT NULL,
	version BIGINT NOT NULL,
	stage TEXT NOT NULL,
	uri TEXT NOT NULL,
	files TEXT NOT NULL,
	signature TEXT NOT NULL,
	metrics TEXT NOT NULL,
	lineage TEXT NOT NULL,
	run_id TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	params TEXT NOT NULL,
	runtime TEXT NOT NULL,
	CONSTRAINT fk_model_versions_model FOREIGN KEY(model) REFERENCES models (name),
	CONSTRAINT uq_model_versions_model_run_id UNIQUE (model, run_id),
	CONSTRAINT uq_model_versions_model_version UNIQUE (model, version)
)

CREATE UNIQUE INDEX uq_model_versions_champion ON model_versions (model) WHERE stage = 'champion'

CREATE TABLE aliases (
	model TEXT NOT NULL,
	alias TEXT NOT NULL,
	version BIGINT NOT NULL,
	CONSTRAINT pk_aliases PRIMARY KEY (model, alias),
	CONSTRAINT fk_aliases_model_version FOREIGN KEY(model, version) REFERENCES model_versions (model, version)
)

CREATE TABLE deployments (
	name TEXT NOT NULL,
	model TEXT NOT NULL,
	host TEXT NOT NULL,
	port BIGINT NOT NULL,
	replicas TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	live_revision BIGINT,
	live_version BIGINT, settings TEXT,
	CONSTRAINT pk_deployments PRIMARY KEY (name)
)

CREATE TABLE revisions (
	deployment TEXT NOT NULL,
	number BIGINT NOT NULL,
	model_version BIGINT NOT NULL,
	model_uri TEXT NOT NULL,
	"key" TEXT NOT NULL,
	status TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	activated_at DATETIME,
	reason TEXT, rollout TEXT, step BIGINT, percent DOUBLE, since DATETIME, restores BIGINT, asked_by TEXT,
	CONSTRAINT pk_revisions PRIMARY KEY (deployment, number),
	CONSTRAINT fk_revisions_deployment FOREIGN KEY(deployment) REFERENCES deployments (name) ON DELETE CASCADE,
	CONSTRAINT uq_revisions_deployment_key UNIQUE (deployment, "key")
)

CREATE UNIQUE INDEX uq_revisions_live ON revisions (deployment) WHERE status = 'live'

CREATE TABLE tokens (
	id TEXT NOT NULL,
	principal TEXT NOT NULL,
	role INTEGER NOT NULL,
	sha256 TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	last_used_at DATETIME,
	CONSTRAINT pk_tokens PRIMARY KEY (id),
	CONSTRAINT uq_tokens_sha256 UNIQUE (sha256)
)

CREATE TABLE audit (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	time DATETIME NOT NULL,
	principal TEXT NOT NULL,
	action TEXT NOT NULL,
	subject TEXT NOT NULL,
	outcome TEXT NOT NULL,
	request_id TEXT NOT NULL
)

CREATE TABLE experiment_tags (
	experiment_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_experiment_tags PRIMARY KEY (experiment_id, "key"),
	CONSTRAINT fk_experiment_tags_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id) ON DELETE CASCADE
)

CREATE INDEX ix_experiment_tags_key ON experiment_tags ("key", experiment_id)

CREATE INDEX ix_tracked_runs_experiment_id_lifecycle_started_at ON tracked_runs (experiment_id, lifecycle, started_at)

CREATE INDEX ix_params_key ON params ("key", run_id)

CREATE INDEX ix_tags_key ON tags ("key", run_id)

CREATE TABLE metrics (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	run_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value DOUBLE,
	step BIGINT NOT NULL,
	timestamp BIGINT NOT NULL,
	model_id TEXT,
	dataset_name TEXT,
	dataset_digest TEXT,
	CONSTRAINT fk_metrics_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE
)

CREATE TABLE latest_metrics (
	run_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value DOUBLE,
	step BIGINT NOT NULL,
	timestamp BIGINT NOT NULL,
	CONSTRAINT pk_latest_metrics PRIMARY KEY (run_id, "key"),
	CONSTRAINT fk_latest_metrics_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE
)

CREATE UNIQUE INDEX uq_metrics_point ON metrics (run_id, "key", step, timestamp, value)

CREATE INDEX ix_metrics_model_id ON metrics (model_id)

CREATE INDEX ix_latest_metrics_key_value ON latest_metrics ("key", value)

CREATE TABLE run_inputs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	run_id TEXT NOT NULL,
	name TEXT NOT NULL,
	digest TEXT NOT NULL,
	source_type TEXT NOT NULL,
	source TEXT NOT NULL,
	schema TEXT,
	profile TEXT,
	tags TEXT NOT NULL,
	CONSTRAINT fk_run_inputs_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE,
	CONSTRAINT uq_run_inputs_run_id_name_digest UNIQUE (run_id, name, digest)
)

CREATE TABLE run_models (
	run_id TEXT NOT NULL,
	model_id TEXT NOT NULL,
	made BOOLEAN NOT NULL,
	step BIGINT NOT NULL,
	CONSTRAINT pk_run_models PRIMARY KEY (run_id, model_id, made),
	CONSTRAINT fk_run_models_run_id FOREIGN KEY(run_id) REFERENCES tracked_runs (id) ON DELETE CASCADE
)

CREATE TABLE logged_models (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	experiment_id TEXT NOT NULL,
	name TEXT NOT NULL,
	status TEXT NOT NULL,
	artifact_uri TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	run_id TEXT,
	model_type TEXT NOT NULL,
	status_message TEXT NOT NULL,
	CONSTRAINT fk_logged_models_experiment_id FOREIGN KEY(experiment_id) REFERENCES experiments (id),
	CONSTRAINT uq_logged_models_id UNIQUE (id)
)

CREATE INDEX ix_logged_models_experiment_id_seq ON logged_models (experiment_id, seq)

CREATE TABLE logged_model_params (
	model_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_logged_model_params PRIMARY KEY (model_id, "key"),
	CONSTRAINT fk_logged_model_params_model_id FOREIGN KEY(model_id) REFERENCES logged_models (id) ON DELETE CASCADE
)

CREATE INDEX ix_logged_model_params_key ON logged_model_params ("key", model_id)

CREATE TABLE logged_model_tags (
	model_id TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_logged_model_tags PRIMARY KEY (model_id, "key"),
	CONSTRAINT fk_logged_model_tags_model_id FOREIGN KEY(model_id) REFERENCES logged_models (id) ON DELETE CASCADE
)

CREATE INDEX ix_logged_model_tags_key ON logged_model_tags ("key", model_id)

CREATE UNIQUE INDEX uq_revisions_rolling ON revisions (deployment) WHERE status IN ('canary', 'shadow')

CREATE TABLE deployment_minutes (
	deployment TEXT NOT NULL,
	minute DATETIME NOT NULL,
	requests BIGINT NOT NULL,
	errors BIGINT NOT NULL,
	refused BIGINT NOT NULL,
	p50_ms DOUBLE,
	p95_ms DOUBLE,
	p99_ms DOUBLE,
	rps_peak DOUBLE NOT NULL,
	cold_starts BIGINT NOT NULL,
	memory_bytes BIGINT NOT NULL,
	cpu_s DOUBLE NOT NULL,
	replicas BIGINT NOT NULL,
	CONSTRAINT pk_deployment_minutes PRIMARY KEY (deployment, minute),
	CONSTRAINT fk_deployment_minutes_deployment FOREIGN KEY(deployment) REFERENCES deployments (name) ON DELETE CASCADE
)

CREATE INDEX ix_deployment_minutes_minute ON deployment_minutes (minute)

CREATE TABLE model_facts (
	model TEXT NOT NULL,
	description TEXT NOT NULL,
	updated_at DATETIME NOT NULL,
	CONSTRAINT pk_model_facts PRIMARY KEY (model),
	CONSTRAINT fk_model_facts_model FOREIGN KEY(model) REFERENCES models (name) ON DELETE CASCADE
)

CREATE TABLE model_tags (
	model TEXT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_model_tags PRIMARY KEY (model, "key"),
	CONSTRAINT fk_model_tags_model FOREIGN KEY(model) REFERENCES models (name) ON DELETE CASCADE
)

CREATE INDEX ix_model_tags_key ON model_tags ("key", model)

CREATE TABLE version_facts (
	model TEXT NOT NULL,
	version BIGINT NOT NULL,
	description TEXT NOT NULL,
	old_stage TEXT NOT NULL,
	user TEXT NOT NULL,
	source TEXT NOT NULL,
	run_id TEXT NOT NULL,
	model_id TEXT NOT NULL,
	updated_at DATETIME NOT NULL,
	CONSTRAINT pk_version_facts PRIMARY KEY (model, version),
	CONSTRAINT fk_version_facts_model_version FOREIGN KEY(model, version) REFERENCES model_versions (model, version) ON DELETE CASCADE
)

CREATE INDEX ix_version_facts_run_id ON version_facts (run_id)

CREATE TABLE version_tags (
	model TEXT NOT NULL,
	version BIGINT NOT NULL,
	"key" TEXT NOT NULL,
	value TEXT NOT NULL,
	CONSTRAINT pk_version_tags PRIMARY KEY (model, version, "key"),
	CONSTRAINT fk_version_tags_model_version FOREIGN KEY(model, version) REFERENCES model_versions (model, version) ON DELETE CASCADE
)

CREATE INDEX ix_version_tags_key ON version_tags ("key", model, version)

CREATE INDEX ix_runs_workflow_name_seq ON runs (workflow_name, seq)

CREATE TABLE workflows (
	name TEXT NOT NULL,
	version BIGINT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	description TEXT NOT NULL,
	CONSTRAINT pk_workflows PRIMARY KEY (name)
)

CREATE TABLE workflow_versions (
	workflow TEXT NOT NULL,
	version BIGINT NOT NULL,
	source TEXT NOT NULL,
	sha256 TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	created_by TEXT,
	CONSTRAINT pk_workflow_versions PRIMARY KEY (workflow, version),
	CONSTRAINT fk_workflow_versions_workflow FOREIGN KEY(workflow) REFERENCES workflows (name) ON DELETE CASCADE
)

CREATE TABLE assignments (
	workflow TEXT NOT NULL,
	project TEXT NOT NULL,
	codeset TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	created_by TEXT,
	CONSTRAINT pk_assignments PRIMARY KEY (workflow, project, codeset),
	CONSTRAINT fk_assignments_workflow FOREIGN KEY(workflow) REFERENCES workflows (name) ON DELETE CASCADE
)

CREATE INDEX ix_assignments_project ON assignments (project, codeset)

CREATE TABLE workflow_triggers (
	id TEXT NOT NULL,
	workflow TEXT NOT NULL,
	kind TEXT NOT NULL,
	dataset TEXT,
	cron TEXT,
	next_at DATETIME,
	CONSTRAINT pk_workflow_triggers PRIMARY KEY (id),
	CONSTRAINT fk_workflow_triggers_workflow FOREIGN KEY(workflow) REFERENCES workflows (name) ON DELETE CASCADE
)

CREATE INDEX ix_workflow_triggers_workflow ON workflow_triggers (workflow)

CREATE INDEX ix_workflow_triggers_dataset ON workflow_triggers (dataset)

CREATE INDEX ix_workflow_triggers_next_at ON workflow_triggers (next_at)

CREATE TABLE projects (
	name TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	description TEXT NOT NULL,
	CONSTRAINT pk_projects PRIMARY KEY (name)
)

CREATE TABLE project_members (
	project TEXT NOT NULL,
	principal TEXT NOT NULL,
	role INTEGER NOT NULL,
	CONSTRAINT pk_project_members PRIMARY KEY (project, principal),
	CONSTRAINT fk_project_members_project FOREIGN KEY(project) REFERENCES projects (name) ON DELETE CASCADE
)

CREATE TABLE applications (
	name TEXT NOT NULL,
	type TEXT NOT NULL,
	url TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	description TEXT NOT NULL,
	workflow TEXT NOT NULL,
	project TEXT,
	deployment TEXT,
	CONSTRAINT pk_applications PRIMARY KEY (name),
	CONSTRAINT fk_applications_project FOREIGN KEY(project) REFERENCES projects (name)
)

CREATE INDEX ix_applications_project ON applications (project)

CREATE TABLE runnables (
	id TEXT NOT NULL,
	kind TEXT NOT NULL,
	spec TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	generation BIGINT NOT NULL,
	CONSTRAINT pk_runnables PRIMARY KEY (id)
)

CREATE TABLE codesets (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	description TEXT NOT NULL,
	labels TEXT NOT NULL,
	branch TEXT NOT NULL,
	head TEXT,
	origin TEXT,
	pushes BIGINT NOT NULL,
	CONSTRAINT pk_codesets PRIMARY KEY (project, name)
)

CREATE TABLE codeset_mirrors (
	project TEXT NOT NULL,
	name TEXT NOT NULL,
	url TEXT NOT NULL,
	interval_s DOUBLE NOT NULL,
	salt TEXT NOT NULL,
	tried_at DATETIME,
	error TEXT,
	CONSTRAINT pk_codeset_mirrors PRIMARY KEY (project, name),
	CONSTRAINT fk_codeset_mirrors_project FOREIGN KEY(project, name) REFERENCES codesets (project, name) ON DELETE CASCADE
)

CREATE INDEX ix_decisions_subject_seq ON decisions (subject, seq)

CREATE TABLE extensions (
	id TEXT NOT NULL,
	product TEXT NOT NULL,
	version TEXT NOT NULL,
	description TEXT NOT NULL,
	zone TEXT NOT NULL,
	configuration TEXT NOT NULL,
	services TEXT NOT NULL,
	registered_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	CONSTRAINT pk_extensions PRIMARY KEY (id)
)

CREATE TABLE step_cache (
	"key" TEXT NOT NULL,
	outputs TEXT NOT NULL,
	run_id TEXT NOT NULL,
	step TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	last_used_at DATETIME NOT NULL,
	CONSTRAINT pk_step_cache PRIMARY KEY ("key")
)

CREATE INDEX ix_step_cache_last_used_at ON step_cache (last_used_at)

CREATE TABLE experiments (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME,
	artifact_location TEXT DEFAULT '' NOT NULL,
	lifecycle TEXT DEFAULT 'active' NOT NULL,
	project TEXT DEFAULT 'default' NOT NULL,
	CONSTRAINT uq_experiments_id UNIQUE (id),
	CONSTRAINT uq_experiments_project_name UNIQUE (project, name)
)

INSERT INTO "alembic_version" ("version_num") VALUES ('0011')

INSERT INTO "experiments" ("id", "name", "created_at", "updated_at", "artifact_location", "lifecycle", "project") VALUES ('0', 'Default', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 'mlflow-artifacts:/0', 'active', 'default')

CREATE TRIGGER decisions_no_update BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END

CREATE TRIGGER decisions_no_delete BEFORE DELETE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END

CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END

CREATE TRIGGER decisions_no_replaced_seq BEFORE INSERT ON decisions WHEN NEW.seq IN (SELECT seq FROM decisions WHERE seq = NEW.seq) BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END

CREATE TRIGGER decisions_no_replaced_id BEFORE INSERT ON decisions WHEN NEW.id IN (SELECT id FROM decisions WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'decisions is append-only'); END

CREATE TRIGGER audit_no_replaced_seq BEFORE INSERT ON audit WHEN NEW.seq IN (SELECT seq FROM audit WHERE seq = NEW.seq) BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END
