-- Revision 0025. Written by migrations/record.py.
CREATE TABLE {data}.person_distinct_ids (
	project_id BIGINT NOT NULL, 
	distinct_id TEXT NOT NULL, 
	person_uuid UUID, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT person_distinct_ids_pkey PRIMARY KEY (project_id, distinct_id)
);
COMMENT ON COLUMN {data}.person_distinct_ids.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.person_distinct_ids.distinct_id IS 'The distinct id.';
COMMENT ON COLUMN {data}.person_distinct_ids.person_uuid IS 'The person''s uuid.';
COMMENT ON COLUMN {data}.person_distinct_ids.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.person_distinct_ids._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.person_distinct_ids._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.person_distinct_ids._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.person_distinct_ids._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.person_distinct_ids._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.persons (
	project_id BIGINT NOT NULL, 
	uuid UUID NOT NULL, 
	id BIGINT, 
	name TEXT, 
	properties JSONB, 
	created_at TIMESTAMP WITH TIME ZONE, 
	last_seen_at TIMESTAMP WITH TIME ZONE, 
	is_identified BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT persons_pkey PRIMARY KEY (project_id, uuid)
);
COMMENT ON COLUMN {data}.persons.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.persons.uuid IS 'The person''s uuid.';
COMMENT ON COLUMN {data}.persons.name IS 'Display name, as the project''s settings choose it.';
COMMENT ON COLUMN {data}.persons.properties IS 'Person properties, as JSON.';
COMMENT ON COLUMN {data}.persons.created_at IS 'When PostHog first saw the person.';
COMMENT ON COLUMN {data}.persons.last_seen_at IS 'When PostHog last saw the person; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.persons.is_identified IS 'Whether the person is identified.';
COMMENT ON COLUMN {data}.persons.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.persons._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.persons._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.persons._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.persons._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.persons._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.session_recordings (
	project_id BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	distinct_id TEXT, 
	person_uuid UUID, 
	start_time TIMESTAMP WITH TIME ZONE, 
	end_time TIMESTAMP WITH TIME ZONE, 
	recording_duration DOUBLE PRECISION, 
	active_seconds DOUBLE PRECISION, 
	inactive_seconds DOUBLE PRECISION, 
	click_count BIGINT, 
	keypress_count BIGINT, 
	mouse_activity_count BIGINT, 
	console_log_count BIGINT, 
	console_warn_count BIGINT, 
	console_error_count BIGINT, 
	start_url TEXT, 
	activity_score DOUBLE PRECISION, 
	viewed BOOLEAN, 
	viewers TEXT[], 
	ongoing BOOLEAN, 
	snapshot_source TEXT, 
	snapshot_library TEXT, 
	retention_period_days BIGINT, 
	expiry_time TIMESTAMP WITH TIME ZONE, 
	recording_ttl BIGINT, 
	storage TEXT, 
	external_references JSONB, 
	has_summary BOOLEAN, 
	summary_outcome JSONB, 
	total_size BIGINT, 
	event_count BIGINT, 
	matches_filters BOOLEAN, 
	matching_events JSONB, 
	email TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT session_recordings_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.session_recordings IS 'One row per session recording, as PostHog''s list of recordings answers it.';
COMMENT ON COLUMN {data}.session_recordings.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.session_recordings.id IS 'Session id: usually UUIDv7 text, but any text up to 200 characters.';
COMMENT ON COLUMN {data}.session_recordings.distinct_id IS 'The distinct id that made the recording.';
COMMENT ON COLUMN {data}.session_recordings.person_uuid IS 'The person''s uuid; null when PostHog knows no person for the distinct id.';
COMMENT ON COLUMN {data}.session_recordings.start_time IS 'Start of the session, by the client''s clock.';
COMMENT ON COLUMN {data}.session_recordings.end_time IS 'End of the session so far, by the client''s clock.';
COMMENT ON COLUMN {data}.session_recordings.recording_duration IS 'Length of the recording, in seconds.';
COMMENT ON COLUMN {data}.session_recordings.active_seconds IS 'Time with activity, in seconds.';
COMMENT ON COLUMN {data}.session_recordings.inactive_seconds IS 'Time without activity, in seconds.';
COMMENT ON COLUMN {data}.session_recordings.click_count IS 'Clicks, a count.';
COMMENT ON COLUMN {data}.session_recordings.keypress_count IS 'Key presses, a count.';
COMMENT ON COLUMN {data}.session_recordings.mouse_activity_count IS 'Mouse events, a count.';
COMMENT ON COLUMN {data}.session_recordings.console_log_count IS 'Console lines of level log, a count.';
COMMENT ON COLUMN {data}.session_recordings.console_warn_count IS 'Console lines of level warn, a count.';
COMMENT ON COLUMN {data}.session_recordings.console_error_count IS 'Console lines of level error, a count.';
COMMENT ON COLUMN {data}.session_recordings.start_url IS 'First URL, cut at 512 characters by PostHog.';
COMMENT ON COLUMN {data}.session_recordings.activity_score IS 'Activity from 0 to 100.';
COMMENT ON COLUMN {data}.session_recordings.viewed IS 'Whether the owner of the API key has watched it.';
COMMENT ON COLUMN {data}.session_recordings.viewers IS 'Emails of others who watched it.';
COMMENT ON COLUMN {data}.session_recordings.ongoing IS 'Whether data arrived in the last 5 minutes.';
COMMENT ON COLUMN {data}.session_recordings.retention_period_days IS 'Days kept by PostHog.';
COMMENT ON COLUMN {data}.session_recordings.expiry_time IS 'When PostHog drops it.';
COMMENT ON COLUMN {data}.session_recordings.recording_ttl IS 'Days left until expiry; falls every day, so it is only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.session_recordings.storage IS 'Where older servers kept it.';
COMMENT ON COLUMN {data}.session_recordings.external_references IS 'Linked issues, as JSON.';
COMMENT ON COLUMN {data}.session_recordings.has_summary IS 'Whether a summary exists.';
COMMENT ON COLUMN {data}.session_recordings.summary_outcome IS 'Outcome of the summary, as JSON.';
COMMENT ON COLUMN {data}.session_recordings.total_size IS 'Size, in bytes.';
COMMENT ON COLUMN {data}.session_recordings.event_count IS 'Events, a count.';
COMMENT ON COLUMN {data}.session_recordings.matches_filters IS 'Whether it matched the filters of the request that read it.';
COMMENT ON COLUMN {data}.session_recordings.matching_events IS 'Old servers only, as JSON.';
COMMENT ON COLUMN {data}.session_recordings.email IS 'Old servers only: the person''s email.';
COMMENT ON COLUMN {data}.session_recordings.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.session_recordings._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.session_recordings._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.session_recordings._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.session_recordings._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.session_recordings._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {book}.checkpoints (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	fence BIGINT NOT NULL, 
	batch BIGINT NOT NULL, 
	position JSONB, 
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT checkpoints_pkey PRIMARY KEY (project_id, stream, unit)
);
COMMENT ON COLUMN {book}.checkpoints.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.checkpoints.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.checkpoints.batch IS 'Batches committed under this fence, a count.';
COMMENT ON COLUMN {book}.checkpoints.updated_at IS 'When the row last changed.';
CREATE TABLE {book}.leases (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	holder UUID, 
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT leases_pkey PRIMARY KEY (project_id, stream, unit)
);
COMMENT ON COLUMN {book}.leases.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.leases.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.leases.holder IS 'The run that holds the unit; null when free.';
COMMENT ON COLUMN {book}.leases.expires_at IS 'When another run may take the unit over.';
CREATE TABLE {book}.rejects (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	payload JSONB, 
	first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	last_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	resolved_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT rejects_pkey PRIMARY KEY (project_id, stream, record_key)
);
COMMENT ON TABLE {book}.rejects IS 'Records that could not be stored; `posthog-etl rejects` lists them.';
COMMENT ON COLUMN {book}.rejects.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.rejects.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.rejects.record_key IS 'Key of the record, or a hash of its content.';
COMMENT ON COLUMN {book}.rejects.reason IS 'Why it could not be stored, in one line.';
CREATE INDEX rejects_unresolved ON {book}.rejects (project_id, stream, record_key) WHERE resolved_at IS NULL;
CREATE TABLE {book}.request_blocks (
	class TEXT NOT NULL, 
	blocked_until TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT request_blocks_pkey PRIMARY KEY (class)
);
COMMENT ON COLUMN {book}.request_blocks.class IS 'Budget class.';
CREATE TABLE {book}.requests (
	class TEXT NOT NULL, 
	at TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON COLUMN {book}.requests.class IS 'Budget class the request drew from.';
CREATE INDEX requests_by_class ON {book}.requests (class, at);
CREATE TABLE {book}.runs (
	id UUID NOT NULL, 
	command TEXT NOT NULL, 
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	status TEXT NOT NULL, 
	reason TEXT, 
	started_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	ended_at TIMESTAMP WITH TIME ZONE, 
	paused_until TIMESTAMP WITH TIME ZONE, 
	records_read BIGINT NOT NULL, 
	rows_inserted BIGINT NOT NULL, 
	rows_updated BIGINT NOT NULL, 
	rejected BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	bytes_read BIGINT NOT NULL, 
	CONSTRAINT runs_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE {book}.runs IS 'One row per execution of a unit.';
COMMENT ON COLUMN {book}.runs.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.runs.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.runs.status IS 'running, succeeded, partial, paused or failed.';
COMMENT ON COLUMN {book}.runs.reason IS 'Why it did not succeed, in one line.';
COMMENT ON COLUMN {book}.runs.started_at IS 'Start of the run.';
COMMENT ON COLUMN {book}.runs.ended_at IS 'End of the run; null while it runs.';
COMMENT ON COLUMN {book}.runs.paused_until IS 'When the budget allows the next request.';
COMMENT ON COLUMN {book}.runs.records_read IS 'Records received, a count.';
COMMENT ON COLUMN {book}.runs.rows_inserted IS 'Rows inserted, a count over all tables.';
COMMENT ON COLUMN {book}.runs.rows_updated IS 'Rows changed, a count over all tables.';
COMMENT ON COLUMN {book}.runs.requests IS 'Requests sent, a count.';
COMMENT ON COLUMN {book}.runs.bytes_read IS 'Size of the answers, in bytes.';
CREATE INDEX runs_by_unit ON {book}.runs (project_id, stream, unit, started_at);
CREATE TABLE {book}.watermarks (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	complete_since TIMESTAMP WITH TIME ZONE, 
	complete_until TIMESTAMP WITH TIME ZONE, 
	traits JSONB, 
	updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT watermarks_pkey PRIMARY KEY (project_id, stream)
);
COMMENT ON COLUMN {book}.watermarks.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.watermarks.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.watermarks.complete_since IS 'Lowest instant known complete.';
COMMENT ON COLUMN {book}.watermarks.complete_until IS 'Highest instant known complete.';
COMMENT ON COLUMN {book}.watermarks.traits IS 'What the server was found to do, as JSON.';
COMMENT ON COLUMN {book}.watermarks.updated_at IS 'When the row last changed.';
CREATE UNLOGGED TABLE {book}.sightings (
	project_id BIGINT NOT NULL, 
	table_name TEXT NOT NULL, 
	row_key TEXT NOT NULL, 
	observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT sightings_pkey PRIMARY KEY (project_id, table_name, row_key)
);
COMMENT ON TABLE {book}.sightings IS 'Rows that were seen unchanged while another run read the same stream.';
COMMENT ON COLUMN {book}.sightings.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.sightings.table_name IS 'Data table of the row.';
COMMENT ON COLUMN {book}.sightings.row_key IS 'Key of the row.';
COMMENT ON COLUMN {book}.sightings.observed_at IS 'When the row was last seen unchanged.';
CREATE UNLOGGED TABLE {book}.suspects (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	CONSTRAINT suspects_pkey PRIMARY KEY (project_id, stream, unit, record_key)
);
COMMENT ON COLUMN {book}.suspects.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.suspects.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
ALTER TABLE {data}.session_recordings ADD COLUMN _expired_at TIMESTAMP WITH TIME ZONE;
CREATE INDEX session_recordings_by_expiry ON {data}.session_recordings (project_id, expiry_time) WHERE _expired_at IS NULL AND _deleted_at IS NULL;
CREATE INDEX session_recordings_by_start ON {data}.session_recordings (project_id, start_time);
ALTER TABLE {book}.runs ADD COLUMN forecast_requests BIGINT;
ALTER TABLE {book}.runs ADD COLUMN forecast_exact BOOLEAN;
ALTER TABLE {book}.watermarks ADD COLUMN complete TSTZMULTIRANGE DEFAULT '{}' NOT NULL;
COMMENT ON COLUMN {book}.watermarks.complete IS 'Stretches of time known complete.';
ALTER TABLE {book}.watermarks ALTER COLUMN complete DROP DEFAULT;
ALTER TABLE {book}.watermarks ADD COLUMN tail_until TIMESTAMP WITH TIME ZONE;
ALTER TABLE {book}.watermarks ADD COLUMN swept JSONB;
ALTER TABLE {book}.watermarks DROP COLUMN complete_until;
ALTER TABLE {book}.watermarks DROP COLUMN complete_since;
CREATE TABLE {data}.group_activity (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	group_key TEXT NOT NULL, 
	entry TEXT NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE, 
	activity TEXT, 
	scope TEXT, 
	item_id TEXT, 
	detail JSONB, 
	"user" JSONB, 
	is_system BOOLEAN, 
	unread BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT group_activity_pkey PRIMARY KEY (project_id, group_type_index, group_key, entry)
);
COMMENT ON TABLE {data}.group_activity IS 'What was done to groups, by whom; one row per entry of the activity log.';
COMMENT ON COLUMN {data}.group_activity.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.group_activity.group_type_index IS 'Index of the group type, see group_types.';
COMMENT ON COLUMN {data}.group_activity.group_key IS 'Key of the group.';
COMMENT ON COLUMN {data}.group_activity.created_at IS 'When it was done.';
COMMENT ON COLUMN {data}.group_activity.activity IS 'What was done.';
COMMENT ON COLUMN {data}.group_activity.scope IS 'What it was done to.';
COMMENT ON COLUMN {data}.group_activity.detail IS 'What changed, as JSON.';
COMMENT ON COLUMN {data}.group_activity."user" IS 'Who did it, as JSON.';
COMMENT ON COLUMN {data}.group_activity.is_system IS 'Whether PostHog did it.';
COMMENT ON COLUMN {data}.group_activity.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.group_activity._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.group_activity._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.group_activity._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.group_activity._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.group_activity._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.group_property_definitions (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	count BIGINT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT group_property_definitions_pkey PRIMARY KEY (project_id, group_type_index, name)
);
COMMENT ON TABLE {data}.group_property_definitions IS 'One row per property that groups of a type have.';
COMMENT ON COLUMN {data}.group_property_definitions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.group_property_definitions.group_type_index IS 'Index of the group type, see group_types.';
COMMENT ON COLUMN {data}.group_property_definitions.name IS 'Name of the property.';
COMMENT ON COLUMN {data}.group_property_definitions.count IS 'Groups that have it, a count.';
COMMENT ON COLUMN {data}.group_property_definitions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.group_property_definitions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.group_property_definitions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.group_property_definitions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.group_property_definitions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.group_property_definitions._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.group_property_values (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	key TEXT NOT NULL, 
	value TEXT NOT NULL, 
	count BIGINT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT group_property_values_pkey PRIMARY KEY (project_id, group_type_index, key, value)
);
COMMENT ON TABLE {data}.group_property_values IS 'The values of group properties, as the server lists them: the 20 most frequent ones.';
COMMENT ON COLUMN {data}.group_property_values.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.group_property_values.group_type_index IS 'Index of the group type, see group_types.';
COMMENT ON COLUMN {data}.group_property_values.key IS 'Name of the property.';
COMMENT ON COLUMN {data}.group_property_values.value IS 'The value: text as it is, anything else as JSON.';
COMMENT ON COLUMN {data}.group_property_values.count IS 'Groups that have it, a count.';
COMMENT ON COLUMN {data}.group_property_values.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.group_property_values._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.group_property_values._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.group_property_values._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.group_property_values._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.group_property_values._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.group_types (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	group_type TEXT, 
	name_singular TEXT, 
	name_plural TEXT, 
	detail_dashboard BIGINT, 
	default_columns JSONB, 
	created_at TIMESTAMP WITH TIME ZONE, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT group_types_pkey PRIMARY KEY (project_id, group_type_index)
);
COMMENT ON TABLE {data}.group_types IS 'One row per group type of the project, at most five.';
COMMENT ON COLUMN {data}.group_types.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.group_types.group_type_index IS 'Index of the group type, from 0.';
COMMENT ON COLUMN {data}.group_types.group_type IS 'Name of the type, as events give it.';
COMMENT ON COLUMN {data}.group_types.name_singular IS 'Name of one, for people.';
COMMENT ON COLUMN {data}.group_types.name_plural IS 'Name of several, for people.';
COMMENT ON COLUMN {data}.group_types.detail_dashboard IS 'Id of its dashboard.';
COMMENT ON COLUMN {data}.group_types.default_columns IS 'Columns shown, as JSON.';
COMMENT ON COLUMN {data}.group_types.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.group_types.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.group_types._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.group_types._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.group_types._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.group_types._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.group_types._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.groups (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	group_key TEXT NOT NULL, 
	group_properties JSONB, 
	created_at TIMESTAMP WITH TIME ZONE, 
	notebook TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT groups_pkey PRIMARY KEY (project_id, group_type_index, group_key)
);
COMMENT ON TABLE {data}.groups IS 'One row per group.';
COMMENT ON COLUMN {data}.groups.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.groups.group_type_index IS 'Index of the group type, see group_types.';
COMMENT ON COLUMN {data}.groups.group_key IS 'Key of the group, as events give it.';
COMMENT ON COLUMN {data}.groups.group_properties IS 'Properties of the group, as JSON.';
COMMENT ON COLUMN {data}.groups.created_at IS 'When PostHog first saw it; can move.';
COMMENT ON COLUMN {data}.groups.notebook IS 'Its notebook.';
COMMENT ON COLUMN {data}.groups.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.groups._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.groups._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.groups._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.groups._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.groups._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.insights (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	short_id TEXT, 
	name TEXT, 
	derived_name TEXT, 
	description TEXT, 
	query JSONB, 
	filters JSONB, 
	dashboards JSONB, 
	dashboard_tiles JSONB, 
	saved BOOLEAN, 
	favorited BOOLEAN, 
	deleted BOOLEAN, 
	tags TEXT[], 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	last_modified_at TIMESTAMP WITH TIME ZONE, 
	last_modified_by BIGINT, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	last_refresh TIMESTAMP WITH TIME ZONE, 
	refreshing BOOLEAN, 
	last_viewed_at TIMESTAMP WITH TIME ZONE, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT insights_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.insights IS 'One row per insight; their results are not copied.';
COMMENT ON COLUMN {data}.insights.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.insights.id IS 'PostHog''s id of the insight.';
COMMENT ON COLUMN {data}.insights.short_id IS 'Short id, as addresses have it.';
COMMENT ON COLUMN {data}.insights.name IS 'Name.';
COMMENT ON COLUMN {data}.insights.derived_name IS 'Name made from the query.';
COMMENT ON COLUMN {data}.insights.description IS 'Description.';
COMMENT ON COLUMN {data}.insights.query IS 'The query, as JSON.';
COMMENT ON COLUMN {data}.insights.filters IS 'The query in its old form, as JSON.';
COMMENT ON COLUMN {data}.insights.dashboards IS 'Ids of the dashboards it is on, as JSON.';
COMMENT ON COLUMN {data}.insights.saved IS 'Whether it was saved.';
COMMENT ON COLUMN {data}.insights.favorited IS 'Whether it is a favourite.';
COMMENT ON COLUMN {data}.insights.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.insights.tags IS 'Tags.';
COMMENT ON COLUMN {data}.insights.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.insights.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.insights.last_modified_at IS 'When a user last changed it.';
COMMENT ON COLUMN {data}.insights.last_modified_by IS 'Id of the user who last changed it, see users.';
COMMENT ON COLUMN {data}.insights.updated_at IS 'When the row last changed at PostHog, also by itself.';
COMMENT ON COLUMN {data}.insights.last_refresh IS 'When its result was last calculated.';
COMMENT ON COLUMN {data}.insights.last_viewed_at IS 'When it was last looked at.';
COMMENT ON COLUMN {data}.insights.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.insights.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.insights._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.insights._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.insights._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.insights._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.insights._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.project_secret_api_keys (
	project_id BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	label TEXT, 
	mask_value TEXT, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	last_used_at TIMESTAMP WITH TIME ZONE, 
	last_rolled_at TIMESTAMP WITH TIME ZONE, 
	scopes TEXT[], 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT project_secret_api_keys_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.project_secret_api_keys IS 'One row per secret API key of the project; never the key itself.';
COMMENT ON COLUMN {data}.project_secret_api_keys.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.project_secret_api_keys.id IS 'PostHog''s id of the key.';
COMMENT ON COLUMN {data}.project_secret_api_keys.label IS 'Label.';
COMMENT ON COLUMN {data}.project_secret_api_keys.mask_value IS 'First and last characters, as PostHog shows them.';
COMMENT ON COLUMN {data}.project_secret_api_keys.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.project_secret_api_keys.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.project_secret_api_keys.last_used_at IS 'When it was last used; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.project_secret_api_keys.last_rolled_at IS 'When it was last exchanged for a new one.';
COMMENT ON COLUMN {data}.project_secret_api_keys.scopes IS 'What it may do.';
COMMENT ON COLUMN {data}.project_secret_api_keys.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.project_secret_api_keys._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.project_secret_api_keys._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.project_secret_api_keys._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.project_secret_api_keys._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.project_secret_api_keys._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.session_property_definitions (
	project_id BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	id TEXT, 
	property_type TEXT, 
	is_numerical BOOLEAN, 
	is_seen_on_filtered_events BOOLEAN, 
	tags TEXT[], 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT session_property_definitions_pkey PRIMARY KEY (project_id, name)
);
COMMENT ON TABLE {data}.session_property_definitions IS 'One row per property that sessions have; the same in every project of a server.';
COMMENT ON COLUMN {data}.session_property_definitions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.session_property_definitions.name IS 'Name of the property.';
COMMENT ON COLUMN {data}.session_property_definitions.property_type IS 'Type of its values.';
COMMENT ON COLUMN {data}.session_property_definitions.is_seen_on_filtered_events IS 'Always null in this list.';
COMMENT ON COLUMN {data}.session_property_definitions.tags IS 'Tags.';
COMMENT ON COLUMN {data}.session_property_definitions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.session_property_definitions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.session_property_definitions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.session_property_definitions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.session_property_definitions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.session_property_definitions._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.session_property_values (
	project_id BIGINT NOT NULL, 
	key TEXT NOT NULL, 
	value TEXT NOT NULL, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT session_property_values_pkey PRIMARY KEY (project_id, key, value)
);
COMMENT ON TABLE {data}.session_property_values IS 'Values of session properties, as the server lists them.';
COMMENT ON COLUMN {data}.session_property_values.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.session_property_values.key IS 'Name of the property.';
COMMENT ON COLUMN {data}.session_property_values.value IS 'The value: text as it is, anything else as JSON.';
COMMENT ON COLUMN {data}.session_property_values.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.session_property_values._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.session_property_values._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.session_property_values._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.session_property_values._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.session_property_values._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.session_recording_playlist_items (
	project_id BIGINT NOT NULL, 
	short_id TEXT NOT NULL, 
	recording_id TEXT NOT NULL, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT session_recording_playlist_items_pkey PRIMARY KEY (project_id, short_id, recording_id)
);
COMMENT ON TABLE {data}.session_recording_playlist_items IS 'Which recordings are in which collection. A saved filter has no items.';
COMMENT ON COLUMN {data}.session_recording_playlist_items.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.session_recording_playlist_items.short_id IS 'Short id of the playlist.';
COMMENT ON COLUMN {data}.session_recording_playlist_items.recording_id IS 'Id of the recording, see session_recordings.';
COMMENT ON COLUMN {data}.session_recording_playlist_items.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.session_recording_playlists (
	project_id BIGINT NOT NULL, 
	short_id TEXT NOT NULL, 
	id BIGINT, 
	name TEXT, 
	derived_name TEXT, 
	description TEXT, 
	type TEXT, 
	pinned BOOLEAN, 
	deleted BOOLEAN, 
	filters JSONB, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	last_modified_at TIMESTAMP WITH TIME ZONE, 
	last_modified_by BIGINT, 
	recordings_counts JSONB, 
	is_synthetic BOOLEAN, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT session_recording_playlists_pkey PRIMARY KEY (project_id, short_id)
);
COMMENT ON TABLE {data}.session_recording_playlists IS 'One row per playlist of recordings: a collection, or a saved filter.';
COMMENT ON COLUMN {data}.session_recording_playlists.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.session_recording_playlists.short_id IS 'Short id, as addresses have it.';
COMMENT ON COLUMN {data}.session_recording_playlists.id IS 'PostHog''s numeric id.';
COMMENT ON COLUMN {data}.session_recording_playlists.name IS 'Name.';
COMMENT ON COLUMN {data}.session_recording_playlists.derived_name IS 'Name made from the filters.';
COMMENT ON COLUMN {data}.session_recording_playlists.description IS 'Description.';
COMMENT ON COLUMN {data}.session_recording_playlists.type IS 'collection or filters; null on old servers.';
COMMENT ON COLUMN {data}.session_recording_playlists.pinned IS 'Whether it is pinned.';
COMMENT ON COLUMN {data}.session_recording_playlists.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.session_recording_playlists.filters IS 'The saved filter, as JSON.';
COMMENT ON COLUMN {data}.session_recording_playlists.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.session_recording_playlists.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.session_recording_playlists.last_modified_at IS 'When a user last changed it.';
COMMENT ON COLUMN {data}.session_recording_playlists.last_modified_by IS 'Id of that user, see users.';
COMMENT ON COLUMN {data}.session_recording_playlists.recordings_counts IS 'How many recordings it has, as JSON; counted now and then.';
COMMENT ON COLUMN {data}.session_recording_playlists.is_synthetic IS 'Whether PostHog made it.';
COMMENT ON COLUMN {data}.session_recording_playlists.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.session_recording_playlists.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.session_recording_playlists._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.session_recording_playlists._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.session_recording_playlists._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.session_recording_playlists._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.session_recording_playlists._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.share_passwords (
	project_id BIGINT NOT NULL, 
	resource_type TEXT NOT NULL, 
	resource_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE, 
	note TEXT, 
	created_by_email TEXT, 
	is_active BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT share_passwords_pkey PRIMARY KEY (project_id, resource_type, resource_id, id)
);
COMMENT ON COLUMN {data}.share_passwords.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.share_passwords.id IS 'PostHog''s id of the password.';
COMMENT ON COLUMN {data}.share_passwords.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.share_passwords.note IS 'Note.';
COMMENT ON COLUMN {data}.share_passwords.created_by_email IS 'Email of who made it, or deleted user.';
COMMENT ON COLUMN {data}.share_passwords.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.share_passwords._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.share_passwords._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.share_passwords._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.share_passwords._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.share_passwords._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.sharing_configurations (
	project_id BIGINT NOT NULL, 
	resource_type TEXT NOT NULL, 
	resource_id TEXT NOT NULL, 
	enabled BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	access_token_sha256 TEXT, 
	settings JSONB, 
	password_required BOOLEAN, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT sharing_configurations_pkey PRIMARY KEY (project_id, resource_type, resource_id)
);
COMMENT ON COLUMN {data}.sharing_configurations.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.sharing_configurations.enabled IS 'Whether it is shared.';
COMMENT ON COLUMN {data}.sharing_configurations.access_token_sha256 IS 'SHA-256 of the token in the link, in hexadecimal; null where nothing is shared.';
COMMENT ON COLUMN {data}.sharing_configurations.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.sharing_configurations.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.sharing_configurations._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.sharing_configurations._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.sharing_configurations._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.sharing_configurations._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.sharing_configurations._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.subscriptions (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	dashboard BIGINT, 
	insight BIGINT, 
	insight_short_id TEXT, 
	resource_name TEXT, 
	target_type TEXT, 
	target_value TEXT, 
	frequency TEXT, 
	interval BIGINT, 
	byweekday TEXT[], 
	bysetpos BIGINT, 
	count BIGINT, 
	start_date TIMESTAMP WITH TIME ZONE, 
	until_date TIMESTAMP WITH TIME ZONE, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	deleted BOOLEAN, 
	title TEXT, 
	summary TEXT, 
	next_delivery_date TIMESTAMP WITH TIME ZONE, 
	invite_message TEXT, 
	content_type TEXT, 
	dashboard_export_insights JSONB, 
	prompt TEXT, 
	ai_config JSONB, 
	enabled BOOLEAN, 
	integration_id BIGINT, 
	summary_enabled BOOLEAN, 
	summary_prompt_guide TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT subscriptions_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.subscriptions IS 'One row per subscription to an insight or a dashboard, also those switched off.';
COMMENT ON COLUMN {data}.subscriptions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.subscriptions.id IS 'PostHog''s id of the subscription.';
COMMENT ON COLUMN {data}.subscriptions.dashboard IS 'Id of the dashboard that is sent, if it is one.';
COMMENT ON COLUMN {data}.subscriptions.insight IS 'Id of the insight that is sent, if it is one.';
COMMENT ON COLUMN {data}.subscriptions.insight_short_id IS 'Its short id.';
COMMENT ON COLUMN {data}.subscriptions.resource_name IS 'Name of what is sent.';
COMMENT ON COLUMN {data}.subscriptions.target_type IS 'email, slack or webhook.';
COMMENT ON COLUMN {data}.subscriptions.target_value IS 'Emails with commas, or a Slack channel. A webhook''s address is a secret: of it only sha256: and a hash in hexadecimal are kept.';
COMMENT ON COLUMN {data}.subscriptions.frequency IS 'daily, weekly, monthly or yearly.';
COMMENT ON COLUMN {data}.subscriptions.interval IS 'Every so many days, weeks, months or years, a count.';
COMMENT ON COLUMN {data}.subscriptions.byweekday IS 'Days of the week, in English, lower case.';
COMMENT ON COLUMN {data}.subscriptions.bysetpos IS 'Which of these days in the month; -1 is the last.';
COMMENT ON COLUMN {data}.subscriptions.count IS 'How often it is sent at most.';
COMMENT ON COLUMN {data}.subscriptions.start_date IS 'When it begins; also the time of day it is sent.';
COMMENT ON COLUMN {data}.subscriptions.until_date IS 'When it ends.';
COMMENT ON COLUMN {data}.subscriptions.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.subscriptions.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.subscriptions.deleted IS 'Whether a user deleted it; it can still be read.';
COMMENT ON COLUMN {data}.subscriptions.title IS 'Title.';
COMMENT ON COLUMN {data}.subscriptions.summary IS 'The schedule in words; made by the server, whose words change with its version.';
COMMENT ON COLUMN {data}.subscriptions.next_delivery_date IS 'When it is sent next; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.subscriptions.content_type IS 'What is sent.';
COMMENT ON COLUMN {data}.subscriptions.dashboard_export_insights IS 'Ids of the dashboard''s insights that are sent, as JSON.';
COMMENT ON COLUMN {data}.subscriptions.enabled IS 'Whether it is sent.';
COMMENT ON COLUMN {data}.subscriptions.integration_id IS 'Id of the Slack integration.';
COMMENT ON COLUMN {data}.subscriptions.summary_enabled IS 'Whether a summary is sent.';
COMMENT ON COLUMN {data}.subscriptions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.subscriptions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.subscriptions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.subscriptions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.subscriptions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.subscriptions._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.users (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	uuid UUID, 
	distinct_id TEXT, 
	first_name TEXT, 
	last_name TEXT, 
	email TEXT, 
	is_email_verified BOOLEAN, 
	hedgehog_config JSONB, 
	role_at_organization TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT users_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.users IS 'One row per user of PostHog that another row names, as last seen there.';
COMMENT ON COLUMN {data}.users.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.users.id IS 'PostHog''s numeric id of the user.';
COMMENT ON COLUMN {data}.users.uuid IS 'The user''s uuid.';
COMMENT ON COLUMN {data}.users.distinct_id IS 'The user''s own distinct id.';
COMMENT ON COLUMN {data}.users.first_name IS 'First name.';
COMMENT ON COLUMN {data}.users.last_name IS 'Last name.';
COMMENT ON COLUMN {data}.users.email IS 'Email address.';
COMMENT ON COLUMN {data}.users.role_at_organization IS 'Role, as the user named it.';
COMMENT ON COLUMN {data}.users.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.users._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.users._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.users._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.users._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.users._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {book}.hosts (
	host TEXT NOT NULL, 
	since TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT hosts_pkey PRIMARY KEY (host)
);
COMMENT ON TABLE {book}.hosts IS 'The source of this deployment: one server, under one address or several.';
CREATE TABLE {book}.checks (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	checked_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT checks_pkey PRIMARY KEY (project_id, stream, record_key)
);
COMMENT ON COLUMN {book}.checks.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.checks.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
CREATE VIEW {data}."publicly_shared_now" AS 
        SELECT
            c.project_id,
            c.resource_type,
            c.resource_id,
            coalesce(
                nullif(i.name, ''), nullif(i.derived_name, ''),
                nullif(p.name, ''), r.distinct_id
            ) AS name,
            c.created_at AS shared_since,
            coalesce(c.password_required, false) AS password_protected,
            (
                SELECT count(*)
                FROM {data}.share_passwords AS s
                WHERE s.project_id = c.project_id
                    AND s.resource_type = c.resource_type
                    AND s.resource_id = c.resource_id
                    AND s.is_active IS NOT FALSE
                    AND s._deleted_at IS NULL
            ) AS passwords,
            u.email AS created_by_email,
            k.checked_at
        FROM {data}.sharing_configurations AS c
        LEFT JOIN {data}.insights AS i
            ON c.resource_type = 'insight'
            AND i.project_id = c.project_id
            AND i.id::text = c.resource_id
        LEFT JOIN {data}.users AS u
            ON u.project_id = i.project_id
            AND u.id = i.created_by
        LEFT JOIN {data}.session_recordings AS r
            ON c.resource_type = 'recording'
            AND r.project_id = c.project_id
            AND r.id = c.resource_id
        LEFT JOIN {data}.persons AS p
            ON p.project_id = r.project_id
            AND p.uuid = r.person_uuid
        LEFT JOIN {book}.checks AS k
            ON k.project_id = c.project_id
            AND k.stream = c.resource_type || '_sharing'
            AND k.record_key = c.resource_id
        WHERE c.enabled
            AND c._deleted_at IS NULL
            AND i._deleted_at IS NULL
            AND i.deleted IS NOT TRUE
            AND r._deleted_at IS NULL
            AND r._expired_at IS NULL;
COMMENT ON VIEW {data}."publicly_shared_now" IS 'Everything that anyone with a link can open now, as far as it was asked about.';
COMMENT ON COLUMN {data}."publicly_shared_now"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."publicly_shared_now"."shared_since" IS 'When sharing was set up, or its link last exchanged.';
COMMENT ON COLUMN {data}."publicly_shared_now"."password_protected" IS 'Whether it asks a password.';
COMMENT ON COLUMN {data}."publicly_shared_now"."passwords" IS 'Active passwords, a count.';
COMMENT ON COLUMN {data}."publicly_shared_now"."checked_at" IS 'When PostHog was last asked about it.';
CREATE VIEW {data}."subscription_schedule" AS 
        SELECT
            s.project_id,
            s.id,
            s.title,
            CASE
                WHEN s.insight IS NOT NULL THEN 'insight'
                WHEN s.dashboard IS NOT NULL THEN 'dashboard'
            END AS resource_type,
            coalesce(s.insight, s.dashboard) AS resource_id,
            coalesce(
                nullif(s.resource_name, ''), nullif(i.name, ''), nullif(i.derived_name, '')
            ) AS name,
            s.target_type,
            s.target_value,
            words.every || coalesce(
                CASE
                    WHEN s.bysetpos IS NOT NULL AND words.days IS NOT NULL THEN
                        ' on the ' || words.place || ' ' || words.days
                    WHEN words.days = 'day' THEN ' on every day'
                    ELSE ' on ' || words.days
                END,
                ''
            ) AS schedule,
            s.next_delivery_date,
            s.until_date,
            u.email AS created_by_email
        FROM {data}.subscriptions AS s
        LEFT JOIN {data}.insights AS i
            ON i.project_id = s.project_id
            AND i.id = s.insight
        LEFT JOIN {data}.users AS u
            ON u.project_id = s.project_id
            AND u.id = s.created_by
        CROSS JOIN LATERAL (
            SELECT
                CASE s.frequency
                    WHEN 'daily' THEN 'day'
                    WHEN 'weekly' THEN 'week'
                    WHEN 'monthly' THEN 'month'
                    WHEN 'yearly' THEN 'year'
                END AS unit,
                cardinality(s.byweekday) AS days,
                CASE WHEN s.bysetpos IS NULL THEN ' and ' ELSE ' or ' END AS last_and
        ) AS parts
        CROSS JOIN LATERAL (
            SELECT
                CASE
                    WHEN parts.unit IS NULL AND s.interval > 1 THEN
                        s.frequency || ', every ' || s.interval
                    WHEN parts.unit IS NULL THEN s.frequency
                    WHEN s.interval > 1 THEN 'every ' || s.interval || ' ' || parts.unit || 's'
                    ELSE 'every ' || parts.unit
                END AS every,
                CASE
                    WHEN parts.days >= 7 THEN 'day'
                    WHEN parts.days > 1 THEN
                        initcap(array_to_string(s.byweekday[:parts.days - 1], ', '))
                        || parts.last_and || initcap(s.byweekday[parts.days])
                    WHEN parts.days = 1 THEN initcap(s.byweekday[1])
                END AS days,
                CASE
                    WHEN s.bysetpos = -1 THEN 'last'
                    WHEN s.bysetpos BETWEEN 1 AND 4 THEN
                        (ARRAY['first', 'second', 'third', 'fourth'])[s.bysetpos::integer]
                    ELSE s.bysetpos || 'th'
                END AS place
        ) AS words
        WHERE s._deleted_at IS NULL
            AND s.deleted IS NOT TRUE
            AND s.enabled IS NOT FALSE;
COMMENT ON VIEW {data}."subscription_schedule" IS 'What is sent to whom, how often and when next; without subscriptions that are deleted or switched off.';
COMMENT ON COLUMN {data}."subscription_schedule"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."subscription_schedule"."id" IS 'PostHog''s id of the subscription.';
COMMENT ON COLUMN {data}."subscription_schedule"."title" IS 'Title.';
COMMENT ON COLUMN {data}."subscription_schedule"."resource_type" IS 'insight or dashboard.';
COMMENT ON COLUMN {data}."subscription_schedule"."resource_id" IS 'Id of the insight or dashboard.';
COMMENT ON COLUMN {data}."subscription_schedule"."name" IS 'Name of the insight or dashboard, where it is known.';
COMMENT ON COLUMN {data}."subscription_schedule"."target_type" IS 'email, slack or webhook.';
COMMENT ON COLUMN {data}."subscription_schedule"."target_value" IS 'Emails with commas, a Slack channel, or the hash of a webhook''s address.';
COMMENT ON COLUMN {data}."subscription_schedule"."schedule" IS 'How often, in words.';
COMMENT ON COLUMN {data}."subscription_schedule"."next_delivery_date" IS 'When it is sent next, as last stored: it moves by itself, and that alone is not stored.';
COMMENT ON COLUMN {data}."subscription_schedule"."until_date" IS 'When it ends.';
COMMENT ON COLUMN {data}."subscription_schedule"."created_by_email" IS 'Email of who made it.';
CREATE VIEW {data}."recording_overview" AS 
        SELECT
            r.project_id,
            r.id,
            r.start_time,
            r.distinct_id,
            p.name AS person_name,
            coalesce(p.properties ->> 'email', r.email) AS person_email,
            r.recording_duration,
            r.active_seconds,
            r.inactive_seconds,
            r.click_count,
            r.keypress_count,
            r.mouse_activity_count,
            r.console_log_count,
            r.console_warn_count,
            r.console_error_count,
            r.start_url,
            coalesce(l.playlists, 0) AS playlists,
            c.enabled AS shared
        FROM {data}.session_recordings AS r
        LEFT JOIN {data}.persons AS p
            ON p.project_id = r.project_id
            AND p.uuid = r.person_uuid
        LEFT JOIN (
            SELECT i.project_id, i.recording_id, count(*) AS playlists
            FROM {data}.session_recording_playlist_items AS i
            JOIN {data}.session_recording_playlists AS l USING (project_id, short_id)
            WHERE i._deleted_at IS NULL
                AND l._deleted_at IS NULL
                AND l.deleted IS NOT TRUE
            GROUP BY i.project_id, i.recording_id
        ) AS l
            ON l.project_id = r.project_id
            AND l.recording_id = r.id
        LEFT JOIN {data}.sharing_configurations AS c
            ON c.project_id = r.project_id
            AND c.resource_type = 'recording'
            AND c.resource_id = r.id
            AND c._deleted_at IS NULL
        WHERE r._deleted_at IS NULL
            AND r._expired_at IS NULL;
COMMENT ON VIEW {data}."recording_overview" IS 'One row per recording that is still there, with its person, and where it shows up.';
COMMENT ON COLUMN {data}."recording_overview"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."recording_overview"."id" IS 'Session id.';
COMMENT ON COLUMN {data}."recording_overview"."start_time" IS 'Start of the session, by the client''s clock.';
COMMENT ON COLUMN {data}."recording_overview"."distinct_id" IS 'The distinct id that made the recording.';
COMMENT ON COLUMN {data}."recording_overview"."person_name" IS 'Display name of the person; null when PostHog knows none.';
COMMENT ON COLUMN {data}."recording_overview"."person_email" IS 'The person''s property email.';
COMMENT ON COLUMN {data}."recording_overview"."recording_duration" IS 'Length of the recording, in seconds.';
COMMENT ON COLUMN {data}."recording_overview"."active_seconds" IS 'Time with activity, in seconds.';
COMMENT ON COLUMN {data}."recording_overview"."inactive_seconds" IS 'Time without activity, in seconds.';
COMMENT ON COLUMN {data}."recording_overview"."click_count" IS 'Clicks, a count.';
COMMENT ON COLUMN {data}."recording_overview"."keypress_count" IS 'Key presses, a count.';
COMMENT ON COLUMN {data}."recording_overview"."mouse_activity_count" IS 'Mouse events, a count.';
COMMENT ON COLUMN {data}."recording_overview"."console_log_count" IS 'Console lines of level log, a count.';
COMMENT ON COLUMN {data}."recording_overview"."console_warn_count" IS 'Console lines of level warn, a count.';
COMMENT ON COLUMN {data}."recording_overview"."console_error_count" IS 'Console lines of level error, a count.';
COMMENT ON COLUMN {data}."recording_overview"."start_url" IS 'First URL, cut at 512 characters by PostHog.';
COMMENT ON COLUMN {data}."recording_overview"."playlists" IS 'Collections it is in, a count.';
COMMENT ON COLUMN {data}."recording_overview"."shared" IS 'Whether anyone with a link can open it; null when that was never asked.';
CREATE TABLE {book}.schedules (
	name TEXT NOT NULL, 
	ticked_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	holder UUID, 
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT schedules_pkey PRIMARY KEY (name)
);
COMMENT ON COLUMN {book}.schedules.expires_at IS 'When another `serve` may take it over.';
ALTER TABLE {book}.runs ADD COLUMN waited_s DOUBLE PRECISION DEFAULT '0' NOT NULL;
ALTER TABLE {book}.checks ADD COLUMN tried_at TIMESTAMP WITH TIME ZONE;
ALTER TABLE {book}.checks ALTER COLUMN checked_at DROP NOT NULL;
COMMENT ON COLUMN {data}.session_recordings.snapshot_source IS 'web, mobile or unknown; from PostHog''s own servers always web, since their list does not load it.';
COMMENT ON COLUMN {data}.session_recordings.snapshot_library IS 'Library that recorded; from PostHog''s own servers always null, since their list does not load it.';
ALTER TABLE {book}.leases ADD COLUMN run_file TEXT;
COMMENT ON COLUMN {book}.leases.run_file IS 'File that the holder keeps locked while it lives; null when there is none.';
CREATE TABLE {book}.cuts (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	seen TEXT NOT NULL, 
	owed BOOLEAN NOT NULL, 
	noted_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT cuts_pkey PRIMARY KEY (project_id, stream, record_key)
);
COMMENT ON COLUMN {book}.cuts.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.cuts.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.cuts.record_key IS 'Key of the record.';
COMMENT ON COLUMN {data}.session_recordings._expired_at IS 'When the row was found gone at the source after its expiry time.';
COMMENT ON COLUMN {data}.subscriptions.invite_message IS 'Always null in the API''s answers.';
COMMENT ON COLUMN {data}.subscriptions.prompt IS 'Prompt of the generated text.';
COMMENT ON COLUMN {data}.subscriptions.ai_config IS 'How that text is generated, as JSON; text inside is kept as hash and length.';
COMMENT ON COLUMN {data}.subscriptions.summary_prompt_guide IS 'How the summary is to be written.';
COMMENT ON COLUMN {data}.users.is_email_verified IS 'Whether the email address is verified.';
COMMENT ON COLUMN {data}.users.hedgehog_config IS 'The user''s hedgehog, as JSON; text other than colour, skin, accessories and direction is kept as hash and length.';
COMMENT ON COLUMN {data}.group_activity.entry IS 'Hash of time and content, because the log has no key.';
COMMENT ON COLUMN {data}.group_activity.item_id IS 'Id of what it was done to.';
COMMENT ON COLUMN {data}.group_activity.unread IS 'Whether the key''s owner has not read it.';
COMMENT ON COLUMN {data}.insights.dashboard_tiles IS 'Its tiles on these, as JSON.';
COMMENT ON COLUMN {data}.insights.refreshing IS 'Whether its result is being calculated.';
COMMENT ON COLUMN {data}.session_property_definitions.id IS 'The server''s id of the property: its name.';
COMMENT ON COLUMN {data}.session_property_definitions.is_numerical IS 'Whether its values are numbers.';
COMMENT ON COLUMN {data}.sharing_configurations.created_at IS 'When sharing was first set up; null if never.';
COMMENT ON COLUMN {data}.sharing_configurations.settings IS 'How it is shown, as JSON; text inside is kept as hash and length.';
COMMENT ON COLUMN {data}.sharing_configurations.password_required IS 'Whether it asks for a password.';
COMMENT ON COLUMN {data}.share_passwords.is_active IS 'Whether the password is accepted.';
COMMENT ON COLUMN {data}.session_recordings._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.persons._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.person_distinct_ids._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.subscriptions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.users._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.group_types._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.groups._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.group_property_definitions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.group_property_values._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.group_activity._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.insights._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.session_recording_playlists._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.session_recording_playlist_items._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.project_secret_api_keys._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.session_property_definitions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.session_property_values._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.sharing_configurations._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.share_passwords._observed_at IS 'When the request for this content was sent.';
COMMENT ON TABLE {book}.leases IS 'Which run works on a unit, and until when; renewed while the run works.';
COMMENT ON TABLE {book}.checkpoints IS 'Where an unfinished reading of a unit goes on; commits with the rows read so far.';
COMMENT ON TABLE {book}.watermarks IS 'Which stretches of time are known complete; changes only when a window closes.';
COMMENT ON TABLE {book}.suspects IS 'Stored records that a reading did not show; each is deleted once it is judged.';
COMMENT ON TABLE {book}.cuts IS 'Records cut by the dates of a request; their stored rows were left unchanged.';
COMMENT ON TABLE {book}.checks IS 'When each resource of a rotation, and each suspect, was last checked.';
COMMENT ON TABLE {book}.request_blocks IS 'How long the server''s last 429 said to wait, for all processes of this database.';
COMMENT ON TABLE {book}.schedules IS 'The latest tick of each schedule, for all `serve` processes of this database.';
COMMENT ON COLUMN {book}.checkpoints.fence IS 'Number under which a run may commit; each run gets a higher one.';
COMMENT ON COLUMN {book}.checkpoints.position IS 'Place from which an unfinished reading goes on, or null.';
COMMENT ON COLUMN {book}.watermarks.tail_until IS 'Where the next sync begins; null before the first one ends.';
COMMENT ON COLUMN {book}.watermarks.swept IS 'When each grade of the lookback was last read, by age in s.';
COMMENT ON COLUMN {book}.runs.id IS 'Id of the run.';
COMMENT ON COLUMN {book}.runs.rejected IS 'Records newly rejected, a count.';
COMMENT ON COLUMN {book}.runs.forecast_requests IS 'Requests forecast at the start, a count.';
COMMENT ON COLUMN {book}.runs.forecast_exact IS 'True if the forecast is an estimate, false if a lower bound.';
COMMENT ON COLUMN {book}.rejects.payload IS 'The record as received; what Postgres cannot hold is replaced.';
COMMENT ON COLUMN {book}.rejects.first_seen_at IS 'When it was first rejected.';
COMMENT ON COLUMN {book}.rejects.last_seen_at IS 'When it was last rejected with this content.';
COMMENT ON COLUMN {book}.rejects.resolved_at IS 'When it was loaded after all; null until then.';
COMMENT ON COLUMN {book}.suspects.record_key IS 'Key of a stored record that the reading did not show.';
COMMENT ON COLUMN {book}.cuts.seen IS 'Hash of the cut record as received.';
COMMENT ON COLUMN {book}.cuts.owed IS 'Whether it must still be asked for by its key.';
COMMENT ON COLUMN {book}.cuts.noted_at IS 'When this cut record was first received.';
COMMENT ON COLUMN {book}.checks.record_key IS 'Key of the record that was checked.';
COMMENT ON COLUMN {book}.checks.checked_at IS 'When it was last checked; null before the first check.';
COMMENT ON COLUMN {book}.checks.tried_at IS 'When a check last failed; the record stays due.';
COMMENT ON COLUMN {book}.hosts.host IS 'Address of the source, as POSTHOG_HOST gives it.';
COMMENT ON COLUMN {book}.hosts.since IS 'When a run first read from this address.';
COMMENT ON COLUMN {book}.requests.at IS 'When it was allowed to be sent.';
COMMENT ON COLUMN {book}.request_blocks.blocked_until IS 'No request of the class is sent before this.';
COMMENT ON COLUMN {book}.schedules.name IS 'Name of the schedule; `:prune` is the daily cleaning.';
COMMENT ON COLUMN {book}.schedules.ticked_at IS 'The latest tick that was started or skipped.';
COMMENT ON COLUMN {book}.schedules.holder IS 'The `serve` that works on the tick; null if none does.';
CREATE TABLE {book}.drift (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	table_name TEXT NOT NULL, 
	field TEXT NOT NULL, 
	expected TEXT, 
	found TEXT NOT NULL, 
	first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT drift_pkey PRIMARY KEY (project_id, stream, table_name, field)
);
COMMENT ON TABLE {book}.drift IS 'Fields and types that the catalogue did not expect; no values.';
COMMENT ON COLUMN {book}.drift.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.drift.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.drift.table_name IS 'Data table that the field belongs to.';
COMMENT ON COLUMN {book}.drift.field IS 'Name of the field, cut to 200 characters.';
COMMENT ON COLUMN {book}.drift.expected IS 'JSON type in the catalogue; null: it has no such field.';
COMMENT ON COLUMN {book}.drift.found IS 'JSON type that came first.';
COMMENT ON COLUMN {book}.drift.first_seen_at IS 'When it was first seen.';
ALTER TABLE {book}.runs ADD COLUMN records_read_fast BIGINT DEFAULT 0 NOT NULL;
COMMENT ON COLUMN {book}.runs.records_read_fast IS 'Records typed from their bytes, a count; 0 in streams whose records never are.';
CREATE INDEX session_recordings_by_expired ON {data}.session_recordings (project_id, _expired_at) WHERE _expired_at IS NOT NULL;
ALTER TABLE {data}.session_recordings ADD COLUMN _hash BIGINT;
COMMENT ON COLUMN {data}.session_recordings._hash IS 'Hash of what the row was made of, without volatile fields; null: it is not known.';
ALTER TABLE {data}.persons ADD COLUMN _hash BIGINT;
COMMENT ON COLUMN {data}.persons._hash IS 'Hash of what the row was made of, without volatile fields; null: it is not known.';
ALTER TABLE {data}.person_distinct_ids ADD COLUMN _hash BIGINT;
COMMENT ON COLUMN {data}.person_distinct_ids._hash IS 'Hash of what the row was made of, without volatile fields; null: it is not known.';
CREATE TABLE {book}.differences (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	table_name TEXT NOT NULL, 
	row_key TEXT NOT NULL, 
	record_key TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	started TIMESTAMP WITH TIME ZONE, 
	only_fills BOOLEAN NOT NULL, 
	confirmed BOOLEAN NOT NULL, 
	CONSTRAINT differences_pkey PRIMARY KEY (project_id, stream, unit, table_name, row_key)
);
COMMENT ON TABLE {book}.differences IS 'What the latest `verify` of a stream found; keys only, no content.';
COMMENT ON COLUMN {book}.differences.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.differences.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.differences.table_name IS 'Data table of the row.';
COMMENT ON COLUMN {book}.differences.row_key IS 'Key of the row.';
COMMENT ON COLUMN {book}.differences.record_key IS 'Key of the record that the row comes from.';
COMMENT ON COLUMN {book}.differences.kind IS 'missing: not stored; surplus: not at the source; different: stored otherwise; expired: past its time, and not marked yet.';
COMMENT ON COLUMN {book}.differences.started IS 'The instant by which windows are cut, if the row has one.';
COMMENT ON COLUMN {book}.differences.only_fills IS 'Whether it differs only in fields that are null here and not at the source.';
COMMENT ON COLUMN {book}.differences.confirmed IS 'Whether it was found again when asked for by key.';
CREATE INDEX differences_by_record ON {book}.differences (project_id, stream, unit, record_key);
CREATE TABLE {book}.reconciliations (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	table_name TEXT NOT NULL, 
	since TIMESTAMP WITH TIME ZONE, 
	until TIMESTAMP WITH TIME ZONE, 
	how TEXT NOT NULL, 
	source_count BIGINT, 
	destination_count BIGINT, 
	missing BIGINT NOT NULL, 
	surplus BIGINT NOT NULL, 
	different BIGINT NOT NULL, 
	checked_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	repaired_at TIMESTAMP WITH TIME ZONE
);
COMMENT ON TABLE {book}.reconciliations IS 'What `verify` has found: one row per table and window of each comparison.';
COMMENT ON COLUMN {book}.reconciliations.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.reconciliations.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.reconciliations.table_name IS 'Data table that was compared.';
COMMENT ON COLUMN {book}.reconciliations.since IS 'Start of the window; null if the stream has no windows.';
COMMENT ON COLUMN {book}.reconciliations.until IS 'End of the window; null if the stream has no windows.';
COMMENT ON COLUMN {book}.reconciliations.source_count IS 'Records that the source showed; null for a table that it does not count.';
COMMENT ON COLUMN {book}.reconciliations.destination_count IS 'Records stored and not gone; null likewise.';
COMMENT ON COLUMN {book}.reconciliations.missing IS 'Rows at the source that were not stored.';
COMMENT ON COLUMN {book}.reconciliations.surplus IS 'Stored rows that the source does not have.';
COMMENT ON COLUMN {book}.reconciliations.different IS 'Rows that were stored otherwise.';
COMMENT ON COLUMN {book}.reconciliations.checked_at IS 'When they were compared.';
COMMENT ON COLUMN {book}.reconciliations.repaired_at IS 'When `--repair` had made them equal; null otherwise.';
CREATE INDEX reconciliations_by_stream ON {book}.reconciliations (project_id, stream, checked_at);
ALTER TABLE {book}.rejects ADD COLUMN table_name TEXT;
COMMENT ON COLUMN {book}.rejects.table_name IS 'Data table of such records; null if it is not known.';
CREATE TABLE {book}.forgotten (
	project_id BIGINT NOT NULL, 
	hash BYTEA NOT NULL, 
	key_id TEXT NOT NULL, 
	added_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT forgotten_pkey PRIMARY KEY (project_id, hash)
);
COMMENT ON TABLE {book}.forgotten IS 'Whom `posthog-etl forget` keeps away from later loads; no personal data.';
COMMENT ON COLUMN {book}.forgotten.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.forgotten.hash IS 'Keyed hash (HMAC-SHA256) of a uuid, a distinct id or a recording id.';
COMMENT ON COLUMN {book}.forgotten.key_id IS 'Which key the hash was made with; tells nothing of it.';
COMMENT ON COLUMN {book}.forgotten.added_at IS 'When it was added.';
CREATE TABLE {book}.forget_key (
	key BYTEA NOT NULL, 
	made_at TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE {book}.forget_key IS 'Key of the hashes in `forgotten` if POSTHOG_ETL_FORGET_KEY is not set; at most one row, which only the owner of the table may read.';
COMMENT ON COLUMN {book}.forget_key.key IS 'The key; 32 random bytes.';
COMMENT ON COLUMN {book}.forget_key.made_at IS 'When it was made.';
DO $$
DECLARE
    key regclass := '{book}.forget_key';
    given record;
BEGIN
    FOR given IN
        SELECT DISTINCT a.grantee FROM pg_catalog.pg_class AS c,
            pg_catalog.aclexplode(c.relacl) AS a
        WHERE c.oid = key AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', key,
            CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
    END LOOP;
END $$;
CREATE TABLE {book}.audit (
	at TIMESTAMP WITH TIME ZONE NOT NULL, 
	command TEXT NOT NULL, 
	project_id BIGINT, 
	rows JSONB NOT NULL
);
COMMENT ON TABLE {book}.audit IS 'What commands that destroy data have done; no personal data.';
COMMENT ON COLUMN {book}.audit.at IS 'When it was done.';
COMMENT ON COLUMN {book}.audit.command IS 'forget, remove or migrate.';
COMMENT ON COLUMN {book}.audit.project_id IS 'PostHog''s numeric project id; null if it concerns all.';
COMMENT ON COLUMN {book}.audit.rows IS 'By table, how many rows were deleted or changed.';
COMMENT ON COLUMN {book}.checkpoints.unit IS '`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, `verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream that is read anew.';
COMMENT ON COLUMN {book}.differences.unit IS '`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, `verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream that is read anew.';
COMMENT ON COLUMN {book}.leases.unit IS '`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, `verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream that is read anew.';
COMMENT ON COLUMN {book}.runs.unit IS '`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, `verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream that is read anew.';
COMMENT ON COLUMN {book}.suspects.unit IS '`tail`: recordings up to now; SINCE/UNTIL: a window of a backfill; `snapshot`: a whole list; `rotation`: some resources at a time; `rejects`: the rejects of the stream; `verify`, `verify deep`, `verify slice`: a comparison of source and destination; `resync`: a stream that is read anew.';
COMMENT ON COLUMN {book}.runs.command IS 'sync, backfill, resync, verify or rejects retry.';
ALTER TABLE {book}.differences ADD COLUMN filled TEXT[] DEFAULT '{}' NOT NULL;
COMMENT ON COLUMN {book}.differences.filled IS 'Fields that the list fills and the answer for one record may leave null.';
CREATE TABLE {book}.query_slots (
	project_id BIGINT NOT NULL, 
	place BIGINT NOT NULL, 
	holder UUID, 
	expires_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT query_slots_pkey PRIMARY KEY (project_id, place)
);
COMMENT ON TABLE {book}.query_slots IS 'The queries of a project that run now, for all processes of this database.';
COMMENT ON COLUMN {book}.query_slots.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.query_slots.place IS 'Number of the place, from 1.';
COMMENT ON COLUMN {book}.query_slots.holder IS 'The query that holds it; null when free.';
COMMENT ON COLUMN {book}.query_slots.expires_at IS 'When another query may take it over.';
ALTER TABLE {book}.runs ADD COLUMN query_bytes_read BIGINT;
COMMENT ON COLUMN {book}.runs.query_bytes_read IS 'Bytes the server read for queries; null: none.';
ALTER TABLE {book}.runs ADD COLUMN query_bytes_left BIGINT;
COMMENT ON COLUMN {book}.runs.query_bytes_left IS 'Bytes that the server''s budget for queries had left; null where it does not say.';
CREATE TABLE {book}.explained_days (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	since TIMESTAMP WITH TIME ZONE NOT NULL, 
	until TIMESTAMP WITH TIME ZONE NOT NULL, 
	source_count BIGINT NOT NULL, 
	source_digest TEXT NOT NULL, 
	destination_count BIGINT NOT NULL, 
	destination_digest TEXT NOT NULL, 
	explained_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT explained_days_pkey PRIMARY KEY (project_id, stream, since)
);
COMMENT ON TABLE {book}.explained_days IS 'Days of which the list shows what is stored, though a query of the source counts what the list hides. Not looked into again as long as both digests stay the same.';
COMMENT ON COLUMN {book}.explained_days.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.explained_days.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.explained_days.since IS 'Start of the day, or of the part of it that is known.';
COMMENT ON COLUMN {book}.explained_days.until IS 'End of it.';
COMMENT ON COLUMN {book}.explained_days.source_count IS 'Records at the source, hidden ones too.';
COMMENT ON COLUMN {book}.explained_days.source_digest IS 'Digest of their ids.';
COMMENT ON COLUMN {book}.explained_days.destination_count IS 'Records stored and not gone.';
COMMENT ON COLUMN {book}.explained_days.destination_digest IS 'Digest of their ids.';
COMMENT ON COLUMN {book}.explained_days.explained_at IS 'When the list showed what is stored.';
COMMENT ON COLUMN {book}.reconciliations.how IS 'ids: keys were compared; digest: number and digest of the keys; contents: rows; sample: some rows.';
CREATE TABLE {data}.dashboard_collaborators (
	project_id BIGINT NOT NULL, 
	dashboard_id BIGINT NOT NULL, 
	id UUID NOT NULL, 
	"user" BIGINT, 
	level BIGINT, 
	added_at TIMESTAMP WITH TIME ZONE, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT dashboard_collaborators_pkey PRIMARY KEY (project_id, dashboard_id, id)
);
COMMENT ON TABLE {data}.dashboard_collaborators IS 'One row per dashboard and user who was allowed to edit it. PostHog shows active users only, so a user who was deactivated looks removed and is marked in _deleted_at.';
COMMENT ON COLUMN {data}.dashboard_collaborators.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.dashboard_collaborators.dashboard_id IS 'Id of the dashboard, see dashboards.';
COMMENT ON COLUMN {data}.dashboard_collaborators.id IS 'PostHog''s id of the permission.';
COMMENT ON COLUMN {data}.dashboard_collaborators."user" IS 'Id of the user, see users.';
COMMENT ON COLUMN {data}.dashboard_collaborators.level IS 'What the user may do: 21 view, 37 edit.';
COMMENT ON COLUMN {data}.dashboard_collaborators.added_at IS 'When the user was added.';
COMMENT ON COLUMN {data}.dashboard_collaborators.updated_at IS 'When the level was last changed.';
COMMENT ON COLUMN {data}.dashboard_collaborators.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.dashboard_collaborators._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.dashboard_collaborators._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.dashboard_collaborators._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.dashboard_collaborators._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.dashboard_collaborators._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.dashboard_collaborators._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.dashboards (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	name TEXT, 
	description TEXT, 
	pinned BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	is_shared BOOLEAN, 
	deleted BOOLEAN, 
	creation_mode TEXT, 
	tags TEXT[], 
	restriction_level BIGINT, 
	access_control_version TEXT, 
	folder TEXT, 
	team_id BIGINT, 
	last_accessed_at TIMESTAMP WITH TIME ZONE, 
	last_viewed_at TIMESTAMP WITH TIME ZONE, 
	last_refresh TIMESTAMP WITH TIME ZONE, 
	effective_restriction_level BIGINT, 
	effective_privilege_level BIGINT, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT dashboards_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.dashboards IS 'One row per dashboard, also the unlisted ones; see the view dashboard_insights for what is on it.';
COMMENT ON COLUMN {data}.dashboards.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.dashboards.id IS 'PostHog''s id of the dashboard.';
COMMENT ON COLUMN {data}.dashboards.name IS 'Name.';
COMMENT ON COLUMN {data}.dashboards.description IS 'Description.';
COMMENT ON COLUMN {data}.dashboards.pinned IS 'Whether it comes first in the list.';
COMMENT ON COLUMN {data}.dashboards.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.dashboards.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.dashboards.is_shared IS 'Whether anyone with a link may open it, see sharing_configurations.';
COMMENT ON COLUMN {data}.dashboards.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.dashboards.creation_mode IS 'How it was made: default, template, duplicate or unlisted. The app does not list unlisted ones.';
COMMENT ON COLUMN {data}.dashboards.tags IS 'Tags.';
COMMENT ON COLUMN {data}.dashboards.restriction_level IS 'Who may edit it: 21 everyone in the project, 37 only collaborators.';
COMMENT ON COLUMN {data}.dashboards.access_control_version IS 'Which kind of access control it has: v1 or v2.';
COMMENT ON COLUMN {data}.dashboards.folder IS 'Folder that it is in; empty: the topmost.';
COMMENT ON COLUMN {data}.dashboards.team_id IS 'Id of its environment.';
COMMENT ON COLUMN {data}.dashboards.last_accessed_at IS 'When anyone last opened it.';
COMMENT ON COLUMN {data}.dashboards.last_viewed_at IS 'When the key''s owner last looked at it.';
COMMENT ON COLUMN {data}.dashboards.last_refresh IS 'When its insights were last calculated.';
COMMENT ON COLUMN {data}.dashboards.effective_restriction_level IS 'The restriction that applies in the end.';
COMMENT ON COLUMN {data}.dashboards.effective_privilege_level IS 'What the key''s owner may do, by collaboration: 21 view, 37 edit.';
COMMENT ON COLUMN {data}.dashboards.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.dashboards.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.dashboards._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.dashboards._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.dashboards._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.dashboards._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.dashboards._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.dashboards._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.event_definitions (
	project_id BIGINT NOT NULL, 
	id UUID NOT NULL, 
	name TEXT, 
	created_at TIMESTAMP WITH TIME ZONE, 
	last_seen_at TIMESTAMP WITH TIME ZONE, 
	description TEXT, 
	tags TEXT[], 
	verified BOOLEAN, 
	verified_at TIMESTAMP WITH TIME ZONE, 
	verified_by BIGINT, 
	hidden BOOLEAN, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	updated_by BIGINT, 
	owner BIGINT, 
	last_updated_at TIMESTAMP WITH TIME ZONE, 
	default_columns TEXT[], 
	primary_property TEXT, 
	enforcement_mode TEXT, 
	is_action BOOLEAN, 
	action_id BIGINT, 
	created_by BIGINT, 
	post_to_slack BOOLEAN, 
	is_calculating BOOLEAN, 
	last_calculated_at TIMESTAMP WITH TIME ZONE, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT event_definitions_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.event_definitions IS 'One row per name of an event, also hidden ones. Deleted for good when a user deletes it; PostHog makes another row when it sees the event again.';
COMMENT ON COLUMN {data}.event_definitions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.event_definitions.id IS 'PostHog''s id of the definition.';
COMMENT ON COLUMN {data}.event_definitions.name IS 'Name of the event.';
COMMENT ON COLUMN {data}.event_definitions.created_at IS 'When PostHog first saw the event; null if never.';
COMMENT ON COLUMN {data}.event_definitions.last_seen_at IS 'When PostHog last saw the event.';
COMMENT ON COLUMN {data}.event_definitions.description IS 'Description.';
COMMENT ON COLUMN {data}.event_definitions.tags IS 'Tags.';
COMMENT ON COLUMN {data}.event_definitions.verified IS 'Whether a user confirmed it.';
COMMENT ON COLUMN {data}.event_definitions.verified_at IS 'When it was confirmed.';
COMMENT ON COLUMN {data}.event_definitions.verified_by IS 'Id of the user who confirmed it, see users.';
COMMENT ON COLUMN {data}.event_definitions.hidden IS 'Whether the app hides it.';
COMMENT ON COLUMN {data}.event_definitions.updated_at IS 'When a user last changed it.';
COMMENT ON COLUMN {data}.event_definitions.updated_by IS 'Id of the user who last changed it, see users.';
COMMENT ON COLUMN {data}.event_definitions.owner IS 'Id of the user who looks after it, see users.';
COMMENT ON COLUMN {data}.event_definitions.last_updated_at IS 'When the definition last changed, also by itself.';
COMMENT ON COLUMN {data}.event_definitions.default_columns IS 'Columns that the app shows for it.';
COMMENT ON COLUMN {data}.event_definitions.primary_property IS 'Property that the app shows next to its name.';
COMMENT ON COLUMN {data}.event_definitions.enforcement_mode IS 'What PostHog does with events that do not fit it.';
COMMENT ON COLUMN {data}.event_definitions.is_action IS 'Whether it is an action.';
COMMENT ON COLUMN {data}.event_definitions.action_id IS 'Id of the action.';
COMMENT ON COLUMN {data}.event_definitions.created_by IS 'Id of the user who made the action, see users.';
COMMENT ON COLUMN {data}.event_definitions.post_to_slack IS 'Whether it is sent to Slack.';
COMMENT ON COLUMN {data}.event_definitions.is_calculating IS 'Whether the action is being calculated.';
COMMENT ON COLUMN {data}.event_definitions.last_calculated_at IS 'When the action was last calculated.';
COMMENT ON COLUMN {data}.event_definitions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.event_definitions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.event_definitions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.event_definitions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.event_definitions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.event_definitions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.event_definitions._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.property_definitions (
	project_id BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	id TEXT NOT NULL, 
	name TEXT, 
	property_type TEXT, 
	is_numerical BOOLEAN, 
	description TEXT, 
	tags TEXT[], 
	verified BOOLEAN, 
	verified_at TIMESTAMP WITH TIME ZONE, 
	verified_by BIGINT, 
	hidden BOOLEAN, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	updated_by BIGINT, 
	virtual BOOLEAN, 
	is_seen_on_filtered_events BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT property_definitions_pkey PRIMARY KEY (project_id, type, group_type_index, id)
);
COMMENT ON TABLE {data}.property_definitions IS 'One row per property of events, persons, groups or sessions, also hidden ones. PostHog leaves out a few event properties such as $set, and adds properties that it computes.';
COMMENT ON COLUMN {data}.property_definitions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.property_definitions.type IS 'Whose property it is: event, person, group or session.';
COMMENT ON COLUMN {data}.property_definitions.group_type_index IS 'Index of the group type, see group_types; -1 for other types. Properties that PostHog computes are shown for all five indices, whether or not there is such a type.';
COMMENT ON COLUMN {data}.property_definitions.id IS 'PostHog''s id: a UUID, or $builtin_ and the name if computed.';
COMMENT ON COLUMN {data}.property_definitions.name IS 'Name of the property.';
COMMENT ON COLUMN {data}.property_definitions.property_type IS 'Type of its values, such as String or DateTime.';
COMMENT ON COLUMN {data}.property_definitions.is_numerical IS 'Whether its values are numbers.';
COMMENT ON COLUMN {data}.property_definitions.description IS 'Description.';
COMMENT ON COLUMN {data}.property_definitions.tags IS 'Tags.';
COMMENT ON COLUMN {data}.property_definitions.verified IS 'Whether a user confirmed it.';
COMMENT ON COLUMN {data}.property_definitions.verified_at IS 'When it was confirmed.';
COMMENT ON COLUMN {data}.property_definitions.verified_by IS 'Id of the user who confirmed it, see users.';
COMMENT ON COLUMN {data}.property_definitions.hidden IS 'Whether the app hides it.';
COMMENT ON COLUMN {data}.property_definitions.updated_at IS 'When a user last changed it.';
COMMENT ON COLUMN {data}.property_definitions.updated_by IS 'Id of the user who last changed it, see users.';
COMMENT ON COLUMN {data}.property_definitions.virtual IS 'True if PostHog computes it.';
COMMENT ON COLUMN {data}.property_definitions.is_seen_on_filtered_events IS 'Always null in this list.';
COMMENT ON COLUMN {data}.property_definitions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.property_definitions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.property_definitions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.property_definitions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.property_definitions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.property_definitions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.property_definitions._deleted_at IS 'When the row was found gone at the source.';
COMMENT ON COLUMN {data}.share_passwords.resource_type IS 'recording, insight or dashboard.';
COMMENT ON COLUMN {data}.share_passwords.resource_id IS 'Id of the recording, insight or dashboard, as text.';
COMMENT ON TABLE {data}.share_passwords IS 'One row per active password of what is shared; never the password.';
COMMENT ON COLUMN {data}.sharing_configurations.resource_type IS 'recording, insight or dashboard.';
COMMENT ON COLUMN {data}.sharing_configurations.resource_id IS 'Id of the recording, insight or dashboard, as text.';
COMMENT ON TABLE {data}.sharing_configurations IS 'One row per recording, insight or dashboard that was checked: whether anyone with a link may open it.';
CREATE OR REPLACE VIEW {data}."publicly_shared_now" AS 
        SELECT
            c.project_id,
            c.resource_type,
            c.resource_id,
            coalesce(
                nullif(i.name, ''), nullif(i.derived_name, ''), nullif(d.name, ''),
                nullif(p.name, ''), r.distinct_id
            ) AS name,
            c.created_at AS shared_since,
            coalesce(c.password_required, false) AS password_protected,
            (
                SELECT count(*)
                FROM {data}.share_passwords AS s
                WHERE s.project_id = c.project_id
                    AND s.resource_type = c.resource_type
                    AND s.resource_id = c.resource_id
                    AND s.is_active IS NOT FALSE
                    AND s._deleted_at IS NULL
            ) AS passwords,
            u.email AS created_by_email,
            k.checked_at
        FROM {data}.sharing_configurations AS c
        LEFT JOIN {data}.insights AS i
            ON c.resource_type = 'insight'
            AND i.project_id = c.project_id
            AND i.id::text = c.resource_id
        LEFT JOIN {data}.dashboards AS d
            ON c.resource_type = 'dashboard'
            AND d.project_id = c.project_id
            AND d.id::text = c.resource_id
        LEFT JOIN {data}.users AS u
            ON u.project_id = c.project_id
            AND u.id = coalesce(i.created_by, d.created_by)
        LEFT JOIN {data}.session_recordings AS r
            ON c.resource_type = 'recording'
            AND r.project_id = c.project_id
            AND r.id = c.resource_id
        LEFT JOIN {data}.persons AS p
            ON p.project_id = r.project_id
            AND p.uuid = r.person_uuid
        LEFT JOIN {book}.checks AS k
            ON k.project_id = c.project_id
            AND k.stream = c.resource_type || '_sharing'
            AND k.record_key = c.resource_id
        WHERE c.enabled
            AND c._deleted_at IS NULL
            AND i._deleted_at IS NULL
            AND i.deleted IS NOT TRUE
            AND d._deleted_at IS NULL
            AND d.deleted IS NOT TRUE
            AND r._deleted_at IS NULL
            AND r._expired_at IS NULL;
COMMENT ON VIEW {data}."publicly_shared_now" IS 'Everything that anyone with a link can open now, as far as it was asked about.';
COMMENT ON COLUMN {data}."publicly_shared_now"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."publicly_shared_now"."resource_type" IS 'recording, insight or dashboard.';
COMMENT ON COLUMN {data}."publicly_shared_now"."resource_id" IS 'Id of the recording, insight or dashboard, as text.';
COMMENT ON COLUMN {data}."publicly_shared_now"."name" IS 'Name of the insight, given or derived, or of the dashboard; of a recording the person''s name, else the distinct id.';
COMMENT ON COLUMN {data}."publicly_shared_now"."shared_since" IS 'When sharing was set up, or its link last exchanged.';
COMMENT ON COLUMN {data}."publicly_shared_now"."password_protected" IS 'Whether it asks a password.';
COMMENT ON COLUMN {data}."publicly_shared_now"."passwords" IS 'Active passwords, a count.';
COMMENT ON COLUMN {data}."publicly_shared_now"."created_by_email" IS 'Email of who made the insight or dashboard; null for a recording.';
COMMENT ON COLUMN {data}."publicly_shared_now"."checked_at" IS 'When PostHog was last asked about it.';
CREATE OR REPLACE VIEW {data}."subscription_schedule" AS 
        SELECT
            s.project_id,
            s.id,
            s.title,
            CASE
                WHEN s.insight IS NOT NULL THEN 'insight'
                WHEN s.dashboard IS NOT NULL THEN 'dashboard'
            END AS resource_type,
            coalesce(s.insight, s.dashboard) AS resource_id,
            coalesce(
                nullif(s.resource_name, ''), nullif(i.name, ''), nullif(i.derived_name, ''),
                nullif(d.name, '')
            ) AS name,
            s.target_type,
            s.target_value,
            words.every || coalesce(
                CASE
                    WHEN s.bysetpos IS NOT NULL AND words.days IS NOT NULL THEN
                        ' on the ' || words.place || ' ' || words.days
                    WHEN words.days = 'day' THEN ' on every day'
                    ELSE ' on ' || words.days
                END,
                ''
            ) AS schedule,
            s.next_delivery_date,
            s.until_date,
            u.email AS created_by_email
        FROM {data}.subscriptions AS s
        LEFT JOIN {data}.insights AS i
            ON i.project_id = s.project_id
            AND i.id = s.insight
        LEFT JOIN {data}.dashboards AS d
            ON d.project_id = s.project_id
            AND d.id = s.dashboard
        LEFT JOIN {data}.users AS u
            ON u.project_id = s.project_id
            AND u.id = s.created_by
        CROSS JOIN LATERAL (
            SELECT
                CASE s.frequency
                    WHEN 'daily' THEN 'day'
                    WHEN 'weekly' THEN 'week'
                    WHEN 'monthly' THEN 'month'
                    WHEN 'yearly' THEN 'year'
                END AS unit,
                cardinality(s.byweekday) AS days,
                CASE WHEN s.bysetpos IS NULL THEN ' and ' ELSE ' or ' END AS last_and
        ) AS parts
        CROSS JOIN LATERAL (
            SELECT
                CASE
                    WHEN parts.unit IS NULL AND s.interval > 1 THEN
                        s.frequency || ', every ' || s.interval
                    WHEN parts.unit IS NULL THEN s.frequency
                    WHEN s.interval > 1 THEN 'every ' || s.interval || ' ' || parts.unit || 's'
                    ELSE 'every ' || parts.unit
                END AS every,
                CASE
                    WHEN parts.days >= 7 THEN 'day'
                    WHEN parts.days > 1 THEN
                        initcap(array_to_string(s.byweekday[:parts.days - 1], ', '))
                        || parts.last_and || initcap(s.byweekday[parts.days])
                    WHEN parts.days = 1 THEN initcap(s.byweekday[1])
                END AS days,
                CASE
                    WHEN s.bysetpos = -1 THEN 'last'
                    WHEN s.bysetpos BETWEEN 1 AND 4 THEN
                        (ARRAY['first', 'second', 'third', 'fourth'])[s.bysetpos::integer]
                    ELSE s.bysetpos || 'th'
                END AS place
        ) AS words
        WHERE s._deleted_at IS NULL
            AND s.deleted IS NOT TRUE
            AND s.enabled IS NOT FALSE;
COMMENT ON VIEW {data}."subscription_schedule" IS 'What is sent to whom, how often and when next; without subscriptions that are deleted or switched off.';
COMMENT ON COLUMN {data}."subscription_schedule"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."subscription_schedule"."id" IS 'PostHog''s id of the subscription.';
COMMENT ON COLUMN {data}."subscription_schedule"."title" IS 'Title.';
COMMENT ON COLUMN {data}."subscription_schedule"."resource_type" IS 'insight or dashboard.';
COMMENT ON COLUMN {data}."subscription_schedule"."resource_id" IS 'Id of the insight or dashboard.';
COMMENT ON COLUMN {data}."subscription_schedule"."name" IS 'Name of the insight or dashboard, where it is known.';
COMMENT ON COLUMN {data}."subscription_schedule"."target_type" IS 'email, slack or webhook.';
COMMENT ON COLUMN {data}."subscription_schedule"."target_value" IS 'Emails with commas, a Slack channel, or the hash of a webhook''s address.';
COMMENT ON COLUMN {data}."subscription_schedule"."schedule" IS 'How often, in words.';
COMMENT ON COLUMN {data}."subscription_schedule"."next_delivery_date" IS 'When it is sent next, as last stored: it moves by itself, and that alone is not stored.';
COMMENT ON COLUMN {data}."subscription_schedule"."until_date" IS 'When it ends.';
COMMENT ON COLUMN {data}."subscription_schedule"."created_by_email" IS 'Email of who made it.';
CREATE OR REPLACE VIEW {data}."dashboard_insights" AS 
        SELECT
            i.project_id,
            tile.dashboard_id,
            nullif(d.name, '') AS dashboard_name,
            i.id AS insight_id,
            i.short_id AS insight_short_id,
            coalesce(nullif(i.name, ''), nullif(i.derived_name, '')) AS insight_name,
            tile.tile_id,
            tile.deleted
        FROM {data}.insights AS i
        CROSS JOIN LATERAL (
            SELECT
                named.dashboard_id,
                min(named.tile_id) AS tile_id,
                bool_and(named.deleted) AS deleted
            FROM jsonb_array_elements(
                CASE
                    WHEN jsonb_typeof(i.dashboard_tiles) = 'array' THEN i.dashboard_tiles
                    WHEN jsonb_typeof(i.dashboards) = 'array' THEN i.dashboards
                    ELSE '[]'
                END
            ) AS each (value)
            CROSS JOIN LATERAL (
                SELECT
                    CASE
                        WHEN each.value ->> 'dashboard_id' ~ '^[0-9]{1,18}$'
                            THEN (each.value ->> 'dashboard_id')::bigint
                        WHEN each.value #>> ARRAY[]::text[] ~ '^[0-9]{1,18}$'
                            THEN (each.value #>> ARRAY[]::text[])::bigint
                    END AS dashboard_id,
                    CASE
                        WHEN each.value ->> 'id' ~ '^[0-9]{1,18}$'
                            THEN (each.value ->> 'id')::bigint
                    END AS tile_id,
                    coalesce(each.value ->> 'deleted' = 'true', false) AS deleted
            ) AS named
            WHERE named.dashboard_id IS NOT NULL
            GROUP BY named.dashboard_id
        ) AS tile
        LEFT JOIN {data}.dashboards AS d
            ON d.project_id = i.project_id
            AND d.id = tile.dashboard_id
        WHERE i._deleted_at IS NULL
            AND i.deleted IS NOT TRUE
            AND d._deleted_at IS NULL
            AND d.deleted IS NOT TRUE;
COMMENT ON VIEW {data}."dashboard_insights" IS 'Which insights are on which dashboard, as the insights say; one row per dashboard and insight.';
COMMENT ON COLUMN {data}."dashboard_insights"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."dashboard_insights"."dashboard_id" IS 'Id of the dashboard.';
COMMENT ON COLUMN {data}."dashboard_insights"."dashboard_name" IS 'Name of the dashboard, where it is known.';
COMMENT ON COLUMN {data}."dashboard_insights"."insight_id" IS 'PostHog''s id of the insight.';
COMMENT ON COLUMN {data}."dashboard_insights"."insight_short_id" IS 'Short id of the insight, as addresses have it.';
COMMENT ON COLUMN {data}."dashboard_insights"."insight_name" IS 'Name of the insight, given or derived.';
COMMENT ON COLUMN {data}."dashboard_insights"."tile_id" IS 'PostHog''s id of the tile; null where the server does not show tiles.';
COMMENT ON COLUMN {data}."dashboard_insights"."deleted" IS 'Whether a user took the insight off the dashboard.';
CREATE TABLE {data}.actions (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	name TEXT, 
	description TEXT, 
	tags TEXT[], 
	steps JSONB, 
	post_to_slack BOOLEAN, 
	slack_message_format TEXT, 
	pinned_at TIMESTAMP WITH TIME ZONE, 
	team_id BIGINT, 
	is_action BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	deleted BOOLEAN, 
	is_calculating BOOLEAN, 
	last_calculated_at TIMESTAMP WITH TIME ZONE, 
	bytecode_error TEXT, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT actions_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.actions IS 'One row per action.';
COMMENT ON COLUMN {data}.actions.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.actions.id IS 'PostHog''s id of the action.';
COMMENT ON COLUMN {data}.actions.name IS 'Name.';
COMMENT ON COLUMN {data}.actions.description IS 'Description.';
COMMENT ON COLUMN {data}.actions.tags IS 'Tags.';
COMMENT ON COLUMN {data}.actions.steps IS 'Which events it matches, as JSON; one of the steps is enough.';
COMMENT ON COLUMN {data}.actions.post_to_slack IS 'Whether Slack is told about each event.';
COMMENT ON COLUMN {data}.actions.slack_message_format IS 'How that message is written.';
COMMENT ON COLUMN {data}.actions.pinned_at IS 'When it was pinned; null if it is not.';
COMMENT ON COLUMN {data}.actions.team_id IS 'Id of the project''s team.';
COMMENT ON COLUMN {data}.actions.is_action IS 'Always true in the API''s answers.';
COMMENT ON COLUMN {data}.actions.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.actions.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.actions.deleted IS 'Whether a user deleted it; seen if it was stored before.';
COMMENT ON COLUMN {data}.actions.is_calculating IS 'Always false in the API''s answers.';
COMMENT ON COLUMN {data}.actions.last_calculated_at IS 'When it was last calculated; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.actions.bytecode_error IS 'Why PostHog could not compile it.';
COMMENT ON COLUMN {data}.actions.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.actions.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.actions._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.actions._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.actions._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.actions._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.actions._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.actions._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.annotations (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	content TEXT, 
	date_marker TIMESTAMP WITH TIME ZONE, 
	creation_type TEXT, 
	scope TEXT, 
	dashboard_item BIGINT, 
	insight_short_id TEXT, 
	insight_name TEXT, 
	insight_derived_name TEXT, 
	dashboard_id BIGINT, 
	dashboard_name TEXT, 
	emoji TEXT, 
	hidden_in_user_interface BOOLEAN, 
	tags TEXT[], 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	deleted BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT annotations_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.annotations IS 'One row per annotation. Those of the organization are in each of its projects.';
COMMENT ON COLUMN {data}.annotations.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.annotations.id IS 'PostHog''s id of the annotation.';
COMMENT ON COLUMN {data}.annotations.content IS 'What it says.';
COMMENT ON COLUMN {data}.annotations.date_marker IS 'What it is about.';
COMMENT ON COLUMN {data}.annotations.creation_type IS 'USR: a user made it; GIT: a deployment.';
COMMENT ON COLUMN {data}.annotations.scope IS 'organization, project, dashboard, dashboard_item or recording.';
COMMENT ON COLUMN {data}.annotations.dashboard_item IS 'Id of the insight it was made on, see insights.';
COMMENT ON COLUMN {data}.annotations.insight_short_id IS 'Short id of that insight.';
COMMENT ON COLUMN {data}.annotations.insight_name IS 'Name of that insight.';
COMMENT ON COLUMN {data}.annotations.insight_derived_name IS 'Name of that insight made from its query.';
COMMENT ON COLUMN {data}.annotations.dashboard_id IS 'Id of the dashboard it was made on.';
COMMENT ON COLUMN {data}.annotations.dashboard_name IS 'Name of that dashboard.';
COMMENT ON COLUMN {data}.annotations.emoji IS 'Emoji that is shown for it.';
COMMENT ON COLUMN {data}.annotations.hidden_in_user_interface IS 'Whether only the API shows it.';
COMMENT ON COLUMN {data}.annotations.tags IS 'Tags.';
COMMENT ON COLUMN {data}.annotations.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.annotations.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.annotations.updated_at IS 'When it was last changed.';
COMMENT ON COLUMN {data}.annotations.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.annotations.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.annotations._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.annotations._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.annotations._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.annotations._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.annotations._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.annotations._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.comments (
	project_id BIGINT NOT NULL, 
	id UUID NOT NULL, 
	scope TEXT, 
	item_id TEXT, 
	item_context JSONB, 
	source_comment UUID, 
	content TEXT, 
	rich_content JSONB, 
	version BIGINT, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	deleted BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT comments_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.comments IS 'One row per comment, also deleted ones; content is personal data.';
COMMENT ON COLUMN {data}.comments.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.comments.id IS 'PostHog''s id of the comment.';
COMMENT ON COLUMN {data}.comments.scope IS 'What it is about: a recording, an insight, a ticket.';
COMMENT ON COLUMN {data}.comments.item_id IS 'Id of that, such as that of a recording.';
COMMENT ON COLUMN {data}.comments.item_context IS 'Where in it, as JSON.';
COMMENT ON COLUMN {data}.comments.source_comment IS 'Id of the comment that it answers.';
COMMENT ON COLUMN {data}.comments.content IS 'What it says. `forget` does not look into it.';
COMMENT ON COLUMN {data}.comments.rich_content IS 'The same with its formatting, as JSON.';
COMMENT ON COLUMN {data}.comments.version IS 'How often it was changed, a count.';
COMMENT ON COLUMN {data}.comments.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.comments.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.comments.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.comments.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.comments._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.comments._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.comments._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.comments._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.comments._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.comments._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.experiments (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	name TEXT, 
	description TEXT, 
	type TEXT, 
	start_date TIMESTAMP WITH TIME ZONE, 
	end_date TIMESTAMP WITH TIME ZONE, 
	feature_flag BIGINT, 
	feature_flag_key TEXT, 
	holdout_id BIGINT, 
	exposure_cohort BIGINT, 
	parameters JSONB, 
	running_time_calculation JSONB, 
	excluded_variants TEXT[], 
	exposure_criteria JSONB, 
	filters JSONB, 
	metrics JSONB, 
	metrics_secondary JSONB, 
	secondary_metrics JSONB, 
	saved_metrics JSONB, 
	saved_metrics_ids JSONB, 
	primary_metrics_ordered_uuids JSONB, 
	secondary_metrics_ordered_uuids JSONB, 
	stats_config JSONB, 
	scheduling_config JSONB, 
	only_count_matured_users BOOLEAN, 
	conclusion TEXT, 
	conclusion_comment TEXT, 
	is_legacy BOOLEAN, 
	archived BOOLEAN, 
	deleted BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	status TEXT, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT experiments_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.experiments IS 'One row per experiment; results are not copied.';
COMMENT ON COLUMN {data}.experiments.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.experiments.id IS 'PostHog''s id of the experiment.';
COMMENT ON COLUMN {data}.experiments.name IS 'Name.';
COMMENT ON COLUMN {data}.experiments.description IS 'Description, or the hypothesis.';
COMMENT ON COLUMN {data}.experiments.type IS 'product or web.';
COMMENT ON COLUMN {data}.experiments.start_date IS 'When it was started; null: it is a draft.';
COMMENT ON COLUMN {data}.experiments.end_date IS 'When it was ended; null if it was not.';
COMMENT ON COLUMN {data}.experiments.feature_flag IS 'Id of its flag, see feature_flags.';
COMMENT ON COLUMN {data}.experiments.feature_flag_key IS 'Key of its flag.';
COMMENT ON COLUMN {data}.experiments.holdout_id IS 'Id of the group that no experiment gets.';
COMMENT ON COLUMN {data}.experiments.exposure_cohort IS 'Id of the cohort that was exposed, see cohorts.';
COMMENT ON COLUMN {data}.experiments.parameters IS 'Variants and sample size, as JSON; without payloads.';
COMMENT ON COLUMN {data}.experiments.running_time_calculation IS 'How long it is to run, as JSON.';
COMMENT ON COLUMN {data}.experiments.excluded_variants IS 'Variants that results leave out.';
COMMENT ON COLUMN {data}.experiments.exposure_criteria IS 'What counts as exposed, as JSON.';
COMMENT ON COLUMN {data}.experiments.filters IS 'The metric in its old form, as JSON.';
COMMENT ON COLUMN {data}.experiments.metrics IS 'The metrics, as JSON, without names of actions. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.metrics_secondary IS 'Further metrics, as JSON, without names of actions. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.secondary_metrics IS 'Further metrics in their old form, as JSON. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.saved_metrics IS 'Metrics that it shares with others, as JSON. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.saved_metrics_ids IS 'Ids of these, as JSON. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.primary_metrics_ordered_uuids IS 'In which order metrics are shown, as JSON. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.secondary_metrics_ordered_uuids IS 'In which order further metrics are shown, as JSON. Newer servers show it only of a single experiment, so it may be null.';
COMMENT ON COLUMN {data}.experiments.stats_config IS 'How results are computed, as JSON.';
COMMENT ON COLUMN {data}.experiments.scheduling_config IS 'When they are computed, as JSON.';
COMMENT ON COLUMN {data}.experiments.only_count_matured_users IS 'Whether only users count whose time to convert has passed.';
COMMENT ON COLUMN {data}.experiments.conclusion IS 'won, lost, inconclusive, stopped_early or invalid.';
COMMENT ON COLUMN {data}.experiments.conclusion_comment IS 'What a user said about that.';
COMMENT ON COLUMN {data}.experiments.is_legacy IS 'Whether its metrics are old ones.';
COMMENT ON COLUMN {data}.experiments.archived IS 'Whether it is archived.';
COMMENT ON COLUMN {data}.experiments.deleted IS 'Whether a user deleted it.';
COMMENT ON COLUMN {data}.experiments.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.experiments.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.experiments.updated_at IS 'When it was last changed.';
COMMENT ON COLUMN {data}.experiments.status IS 'draft, running, paused or stopped, from dates and flag; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.experiments.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.experiments.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.experiments._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.experiments._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.experiments._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.experiments._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.experiments._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.experiments._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.feature_flags (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	key TEXT, 
	name TEXT, 
	filters JSONB, 
	active BOOLEAN, 
	archived BOOLEAN, 
	deleted BOOLEAN, 
	version BIGINT, 
	tags TEXT[], 
	evaluation_contexts TEXT[], 
	evaluation_runtime TEXT, 
	bucketing_identifier TEXT, 
	ensure_experience_continuity BOOLEAN, 
	is_remote_configuration BOOLEAN, 
	has_encrypted_payloads BOOLEAN, 
	rollback_conditions JSONB, 
	performed_rollback BOOLEAN, 
	experiment_set JSONB, 
	usage_dashboard BIGINT, 
	analytics_dashboards JSONB, 
	has_enriched_analytics BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	last_modified_by BIGINT, 
	last_called_at TIMESTAMP WITH TIME ZONE, 
	status TEXT, 
	is_used_in_replay_settings BOOLEAN, 
	can_edit BOOLEAN, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT feature_flags_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.feature_flags IS 'One row per feature flag, but for those that surveys and product tours made.';
COMMENT ON COLUMN {data}.feature_flags.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.feature_flags.id IS 'PostHog''s id of the flag.';
COMMENT ON COLUMN {data}.feature_flags.key IS 'Key by which code asks for it; PostHog may rename a deleted one.';
COMMENT ON COLUMN {data}.feature_flags.name IS 'Description: PostHog calls it name.';
COMMENT ON COLUMN {data}.feature_flags.filters IS 'Who gets it and which variant, as JSON; without the names of cohorts and groups, and without payloads that are encrypted.';
COMMENT ON COLUMN {data}.feature_flags.active IS 'Whether it is switched on.';
COMMENT ON COLUMN {data}.feature_flags.archived IS 'Whether it is archived.';
COMMENT ON COLUMN {data}.feature_flags.deleted IS 'Whether a user deleted it; seen if it was stored before.';
COMMENT ON COLUMN {data}.feature_flags.version IS 'How often it was changed, a count.';
COMMENT ON COLUMN {data}.feature_flags.tags IS 'Tags.';
COMMENT ON COLUMN {data}.feature_flags.evaluation_contexts IS 'Where it may be evaluated; empty: everywhere.';
COMMENT ON COLUMN {data}.feature_flags.evaluation_runtime IS 'server, client or all.';
COMMENT ON COLUMN {data}.feature_flags.bucketing_identifier IS 'What a share of users is drawn by.';
COMMENT ON COLUMN {data}.feature_flags.ensure_experience_continuity IS 'Whether who has it keeps it after logging in.';
COMMENT ON COLUMN {data}.feature_flags.is_remote_configuration IS 'Whether it only hands out a value.';
COMMENT ON COLUMN {data}.feature_flags.has_encrypted_payloads IS 'Whether its payloads are encrypted.';
COMMENT ON COLUMN {data}.feature_flags.rollback_conditions IS 'When it is switched off by itself, as JSON.';
COMMENT ON COLUMN {data}.feature_flags.performed_rollback IS 'Whether that has happened.';
COMMENT ON COLUMN {data}.feature_flags.experiment_set IS 'Ids of its experiments, as JSON; see experiments.';
COMMENT ON COLUMN {data}.feature_flags.usage_dashboard IS 'Id of the dashboard about its use.';
COMMENT ON COLUMN {data}.feature_flags.analytics_dashboards IS 'Ids of other dashboards, as JSON.';
COMMENT ON COLUMN {data}.feature_flags.has_enriched_analytics IS 'Whether applications send more about its use.';
COMMENT ON COLUMN {data}.feature_flags.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.feature_flags.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.feature_flags.updated_at IS 'When it was last changed; null on old servers.';
COMMENT ON COLUMN {data}.feature_flags.last_modified_by IS 'Id of the user who last changed it, see users.';
COMMENT ON COLUMN {data}.feature_flags.last_called_at IS 'When an application last asked for it, up to a day earlier than at PostHog; null: never, or the server does not say.';
COMMENT ON COLUMN {data}.feature_flags.status IS 'What PostHog thinks of it, such as STALE; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.feature_flags.is_used_in_replay_settings IS 'Whether it decides which sessions are recorded.';
COMMENT ON COLUMN {data}.feature_flags.can_edit IS 'Whether the key''s owner may change it.';
COMMENT ON COLUMN {data}.feature_flags.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.feature_flags.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.feature_flags._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.feature_flags._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.feature_flags._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.feature_flags._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.feature_flags._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.feature_flags._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.surveys (
	project_id BIGINT NOT NULL, 
	id UUID NOT NULL, 
	name TEXT, 
	description TEXT, 
	type TEXT, 
	schedule TEXT, 
	questions JSONB, 
	conditions JSONB, 
	appearance JSONB, 
	translations JSONB, 
	form_content JSONB, 
	linked_flag_id BIGINT, 
	linked_insight_id BIGINT, 
	targeting_flag BIGINT, 
	internal_targeting_flag BIGINT, 
	feature_flag_keys JSONB, 
	start_date TIMESTAMP WITH TIME ZONE, 
	end_date TIMESTAMP WITH TIME ZONE, 
	archived BOOLEAN, 
	responses_limit BIGINT, 
	iteration_count BIGINT, 
	iteration_frequency_days BIGINT, 
	iteration_start_dates TEXT[], 
	response_sampling_start_date TIMESTAMP WITH TIME ZONE, 
	response_sampling_interval_type TEXT, 
	response_sampling_interval BIGINT, 
	response_sampling_limit BIGINT, 
	response_sampling_daily_limits JSONB, 
	enable_partial_responses BOOLEAN, 
	enable_iframe_embedding BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	current_iteration BIGINT, 
	current_iteration_start_date TIMESTAMP WITH TIME ZONE, 
	user_access_level TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT surveys_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.surveys IS 'One row per survey, but for those of product tours; answers to it are events.';
COMMENT ON COLUMN {data}.surveys.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.surveys.id IS 'PostHog''s id of the survey.';
COMMENT ON COLUMN {data}.surveys.name IS 'Name.';
COMMENT ON COLUMN {data}.surveys.description IS 'Description.';
COMMENT ON COLUMN {data}.surveys.type IS 'popover, widget, external_survey or api.';
COMMENT ON COLUMN {data}.surveys.schedule IS 'How often a person is asked.';
COMMENT ON COLUMN {data}.surveys.questions IS 'The questions, as JSON.';
COMMENT ON COLUMN {data}.surveys.conditions IS 'When it is shown, as JSON; of an action only its id, see actions.';
COMMENT ON COLUMN {data}.surveys.appearance IS 'What it looks like, as JSON.';
COMMENT ON COLUMN {data}.surveys.translations IS 'Its texts in other languages, as JSON.';
COMMENT ON COLUMN {data}.surveys.form_content IS 'The content of a form, as JSON.';
COMMENT ON COLUMN {data}.surveys.linked_flag_id IS 'Id of the flag that a person needs to be asked, see feature_flags.';
COMMENT ON COLUMN {data}.surveys.linked_insight_id IS 'Id of the insight it was made from.';
COMMENT ON COLUMN {data}.surveys.targeting_flag IS 'Id of the flag that says who is asked.';
COMMENT ON COLUMN {data}.surveys.internal_targeting_flag IS 'Id of the flag that says who was asked.';
COMMENT ON COLUMN {data}.surveys.feature_flag_keys IS 'Keys of all these flags, as JSON.';
COMMENT ON COLUMN {data}.surveys.start_date IS 'When it was started; null if it was not.';
COMMENT ON COLUMN {data}.surveys.end_date IS 'When it was ended; null if it was not.';
COMMENT ON COLUMN {data}.surveys.archived IS 'Whether it is archived.';
COMMENT ON COLUMN {data}.surveys.responses_limit IS 'How many answers end it, a count.';
COMMENT ON COLUMN {data}.surveys.iteration_count IS 'How often it is repeated, a count.';
COMMENT ON COLUMN {data}.surveys.iteration_frequency_days IS 'After how many days it is repeated.';
COMMENT ON COLUMN {data}.surveys.iteration_start_dates IS 'When each round begins.';
COMMENT ON COLUMN {data}.surveys.response_sampling_start_date IS 'When sampling begins.';
COMMENT ON COLUMN {data}.surveys.response_sampling_interval_type IS 'day, week or month.';
COMMENT ON COLUMN {data}.surveys.response_sampling_interval IS 'For so many of these, a count.';
COMMENT ON COLUMN {data}.surveys.response_sampling_limit IS 'How many answers are wanted, a count.';
COMMENT ON COLUMN {data}.surveys.response_sampling_daily_limits IS 'How many on each day, as JSON.';
COMMENT ON COLUMN {data}.surveys.enable_partial_responses IS 'Whether unfinished answers are kept.';
COMMENT ON COLUMN {data}.surveys.enable_iframe_embedding IS 'Whether other sites may embed it.';
COMMENT ON COLUMN {data}.surveys.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.surveys.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.surveys.current_iteration IS 'Number of the round under way; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.surveys.current_iteration_start_date IS 'When that round began; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.surveys.user_access_level IS 'What the key''s owner may do.';
COMMENT ON COLUMN {data}.surveys.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.surveys._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.surveys._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.surveys._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.surveys._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.surveys._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.surveys._deleted_at IS 'When the row was found gone at the source.';
CREATE VIEW {data}."stale_flags" AS 
        SELECT
            f.project_id,
            f.id,
            f.key,
            f.name,
            f.active,
            f.created_at,
            f.updated_at,
            f.last_called_at,
            u.email AS created_by_email,
            floor(extract(epoch FROM now() - last.at) / 86400)::bigint AS days_since
        FROM {data}.feature_flags AS f
        CROSS JOIN LATERAL (
            SELECT greatest(f.created_at, f.updated_at, f.last_called_at) AS at
        ) AS last
        LEFT JOIN {data}.users AS u
            ON u.project_id = f.project_id
            AND u.id = f.created_by
        WHERE f._deleted_at IS NULL
            AND f.deleted IS NOT TRUE
            AND f.archived IS NOT TRUE
            AND last.at < now() - interval '90 days';
COMMENT ON VIEW {data}."stale_flags" IS 'Living feature flags, archived ones left out, that nobody changed or used for 90 days. A flag that was never changed or used counts from when it was made. Servers that do not say when a flag was last used are judged by changes alone.';
COMMENT ON COLUMN {data}."stale_flags"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."stale_flags"."id" IS 'PostHog''s id of the flag.';
COMMENT ON COLUMN {data}."stale_flags"."key" IS 'Key by which code asks for it.';
COMMENT ON COLUMN {data}."stale_flags"."name" IS 'Description: PostHog calls it name.';
COMMENT ON COLUMN {data}."stale_flags"."active" IS 'Whether it is switched on.';
COMMENT ON COLUMN {data}."stale_flags"."created_at" IS 'When it was made.';
COMMENT ON COLUMN {data}."stale_flags"."updated_at" IS 'When it was last changed.';
COMMENT ON COLUMN {data}."stale_flags"."last_called_at" IS 'When an application last asked for it; up to a day earlier than at PostHog.';
COMMENT ON COLUMN {data}."stale_flags"."created_by_email" IS 'Email of who made it.';
COMMENT ON COLUMN {data}."stale_flags"."days_since" IS 'Days since it was last made, changed or used, a count.';
CREATE TABLE {data}.activity_log (
	project_id BIGINT NOT NULL, 
	id UUID NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE, 
	"user" BIGINT, 
	activity TEXT, 
	scope TEXT, 
	item_id TEXT, 
	detail JSONB, 
	organization_id UUID, 
	was_impersonated BOOLEAN, 
	is_system BOOLEAN, 
	unread BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT activity_log_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.activity_log IS 'What was done in the project; one row per entry of the activity log.';
COMMENT ON COLUMN {data}.activity_log.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.activity_log.id IS 'PostHog''s id of the entry.';
COMMENT ON COLUMN {data}.activity_log.created_at IS 'When it was done.';
COMMENT ON COLUMN {data}.activity_log."user" IS 'Id of the user who did it, see users; null: the system.';
COMMENT ON COLUMN {data}.activity_log.activity IS 'What was done, such as created, updated or deleted.';
COMMENT ON COLUMN {data}.activity_log.scope IS 'The kind of thing that it was done to, such as FeatureFlag.';
COMMENT ON COLUMN {data}.activity_log.item_id IS 'Id of this thing; of a person the numeric one, which `forget` does not look for.';
COMMENT ON COLUMN {data}.activity_log.detail IS 'Name of the thing and what changed, as JSON; other text, such as values before and after, is kept as hash and length.';
COMMENT ON COLUMN {data}.activity_log.organization_id IS 'Id of the organization.';
COMMENT ON COLUMN {data}.activity_log.was_impersonated IS 'Whether an employee of PostHog did it in the user''s name.';
COMMENT ON COLUMN {data}.activity_log.is_system IS 'Whether PostHog did it by itself.';
COMMENT ON COLUMN {data}.activity_log.unread IS 'Whether the key''s owner has not read it.';
COMMENT ON COLUMN {data}.activity_log.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.activity_log._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.activity_log._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.activity_log._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.activity_log._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.activity_log._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.activity_log._deleted_at IS 'When the row was found gone at the source.';
CREATE INDEX activity_log_by_time ON {data}.activity_log (project_id, created_at);
CREATE TABLE {data}.organization_members (
	project_id BIGINT NOT NULL, 
	organization UUID NOT NULL, 
	id UUID NOT NULL, 
	"user" BIGINT, 
	level BIGINT, 
	joined_at TIMESTAMP WITH TIME ZONE, 
	updated_at TIMESTAMP WITH TIME ZONE, 
	is_2fa_enabled BOOLEAN, 
	has_social_auth BOOLEAN, 
	last_login TIMESTAMP WITH TIME ZONE, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT organization_members_pkey PRIMARY KEY (project_id, organization, id)
);
COMMENT ON TABLE {data}.organization_members IS 'One row per member of the project''s organization.';
COMMENT ON COLUMN {data}.organization_members.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.organization_members.organization IS 'Id of the organization, see projects.';
COMMENT ON COLUMN {data}.organization_members.id IS 'PostHog''s id of the membership.';
COMMENT ON COLUMN {data}.organization_members."user" IS 'Id of the user, see users.';
COMMENT ON COLUMN {data}.organization_members.level IS '1 is a member, 8 an administrator, 15 an owner.';
COMMENT ON COLUMN {data}.organization_members.joined_at IS 'When the user joined.';
COMMENT ON COLUMN {data}.organization_members.updated_at IS 'When the membership was last changed.';
COMMENT ON COLUMN {data}.organization_members.is_2fa_enabled IS 'Whether the user logs in with a second factor.';
COMMENT ON COLUMN {data}.organization_members.has_social_auth IS 'Whether the user logs in by another service.';
COMMENT ON COLUMN {data}.organization_members.last_login IS 'When the user last logged in; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.organization_members.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.organization_members._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.organization_members._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.organization_members._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.organization_members._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.organization_members._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.organization_members._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.projects (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	uuid UUID, 
	organization UUID, 
	name TEXT, 
	timezone TEXT, 
	is_demo BOOLEAN, 
	ingested_event BOOLEAN, 
	completed_snippet_onboarding BOOLEAN, 
	has_completed_onboarding_for JSONB, 
	access_control BOOLEAN, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT projects_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.projects IS 'The project itself: one row, without its tokens.';
COMMENT ON COLUMN {data}.projects.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.projects.id IS 'PostHog''s id of the project.';
COMMENT ON COLUMN {data}.projects.uuid IS 'Its uuid.';
COMMENT ON COLUMN {data}.projects.organization IS 'Id of the organization that it belongs to.';
COMMENT ON COLUMN {data}.projects.name IS 'Name.';
COMMENT ON COLUMN {data}.projects.timezone IS 'Time zone in which PostHog shows instants.';
COMMENT ON COLUMN {data}.projects.is_demo IS 'Whether its data is made up.';
COMMENT ON COLUMN {data}.projects.ingested_event IS 'Whether it ever received an event.';
COMMENT ON COLUMN {data}.projects.completed_snippet_onboarding IS 'Whether a user said that the snippet is installed.';
COMMENT ON COLUMN {data}.projects.has_completed_onboarding_for IS 'Products whose introduction was completed, as JSON.';
COMMENT ON COLUMN {data}.projects.access_control IS 'Whether only some members may see it.';
COMMENT ON COLUMN {data}.projects.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.projects._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.projects._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.projects._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.projects._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.projects._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.projects._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.subscription_deliveries (
	project_id BIGINT NOT NULL, 
	subscription BIGINT NOT NULL, 
	id UUID NOT NULL, 
	created_at TIMESTAMP WITH TIME ZONE, 
	trigger_type TEXT, 
	scheduled_at TIMESTAMP WITH TIME ZONE, 
	target_type TEXT, 
	status TEXT, 
	finished_at TIMESTAMP WITH TIME ZONE, 
	last_updated_at TIMESTAMP WITH TIME ZONE, 
	exported_asset_ids JSONB, 
	error JSONB, 
	temporal_workflow_id TEXT, 
	idempotency_key TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT subscription_deliveries_pkey PRIMARY KEY (project_id, subscription, id)
);
COMMENT ON TABLE {data}.subscription_deliveries IS 'One row per delivery of a subscription; not what was sent, nor to whom.';
COMMENT ON COLUMN {data}.subscription_deliveries.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.subscription_deliveries.subscription IS 'Id of the subscription.';
COMMENT ON COLUMN {data}.subscription_deliveries.id IS 'PostHog''s id of the delivery.';
COMMENT ON COLUMN {data}.subscription_deliveries.created_at IS 'When it was begun.';
COMMENT ON COLUMN {data}.subscription_deliveries.trigger_type IS 'scheduled, manual or target_change.';
COMMENT ON COLUMN {data}.subscription_deliveries.scheduled_at IS 'When it was due, if it was scheduled.';
COMMENT ON COLUMN {data}.subscription_deliveries.target_type IS 'email, slack or webhook.';
COMMENT ON COLUMN {data}.subscription_deliveries.status IS 'starting, completed, failed or skipped.';
COMMENT ON COLUMN {data}.subscription_deliveries.finished_at IS 'When it ended; null while it may still change.';
COMMENT ON COLUMN {data}.subscription_deliveries.last_updated_at IS 'When it last changed.';
COMMENT ON COLUMN {data}.subscription_deliveries.exported_asset_ids IS 'Ids of the images that were made, as JSON.';
COMMENT ON COLUMN {data}.subscription_deliveries.error IS 'Why it failed, as JSON; text other than type and code is kept as hash and length.';
COMMENT ON COLUMN {data}.subscription_deliveries.temporal_workflow_id IS 'Id of PostHog''s job.';
COMMENT ON COLUMN {data}.subscription_deliveries.idempotency_key IS 'What keeps it from being sent twice.';
COMMENT ON COLUMN {data}.subscription_deliveries.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.subscription_deliveries._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.subscription_deliveries._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.subscription_deliveries._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.subscription_deliveries._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.subscription_deliveries._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.subscription_deliveries._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {book}.growing_lists (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	read_until TIMESTAMP WITH TIME ZONE NOT NULL, 
	page_rows BIGINT NOT NULL, 
	CONSTRAINT growing_lists_pkey PRIMARY KEY (project_id, stream, parent)
);
COMMENT ON TABLE {book}.growing_lists IS 'How far each list that only grows was read; a sync goes on from there.';
COMMENT ON COLUMN {book}.growing_lists.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.growing_lists.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.growing_lists.parent IS 'Key of the row that the list belongs to; empty if the stream has one list.';
COMMENT ON COLUMN {book}.growing_lists.read_until IS 'Every row that was added before this instant is stored.';
COMMENT ON COLUMN {book}.growing_lists.page_rows IS 'The most rows that one answer had, a count.';
CREATE VIEW {data}."who_did_what" AS 
        SELECT
            a.project_id,
            a.id,
            a.created_at AS done_at,
            CASE
                WHEN a."user" IS NULL THEN 'PostHog'
                ELSE coalesce(
                    nullif(btrim(concat_ws(' ', u.first_name, u.last_name)), ''),
                    nullif(u.email, ''),
                    a."user"::text
                )
            END AS done_by,
            u.email,
            CASE
                WHEN a.was_impersonated THEN 'employee'
                WHEN a."user" IS NULL OR a.is_system THEN 'system'
                ELSE 'user'
            END AS by_whom,
            a.activity,
            a.scope,
            nullif(a.detail ->> 'name', '') AS item_name,
            a.item_id,
            c.changed
        FROM {data}.activity_log AS a
        LEFT JOIN {data}.users AS u
            ON u.project_id = a.project_id
            AND u.id = a."user"
        LEFT JOIN LATERAL (
            SELECT array_agg(DISTINCT each ->> 'field' ORDER BY each ->> 'field') AS changed
            FROM jsonb_path_query(a.detail, 'lax $.changes[*]') AS each
            WHERE each ->> 'field' IS NOT NULL
        ) AS c ON true
        WHERE a._deleted_at IS NULL;
COMMENT ON VIEW {data}."who_did_what" IS 'What was done in a project: when, by whom, and to what. Filled by activity_log.';
COMMENT ON COLUMN {data}."who_did_what"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."who_did_what"."id" IS 'Id of the entry, see activity_log.';
COMMENT ON COLUMN {data}."who_did_what"."done_at" IS 'When it was done.';
COMMENT ON COLUMN {data}."who_did_what"."done_by" IS 'The user''s name, else the email address, else the id; PostHog: by itself.';
COMMENT ON COLUMN {data}."who_did_what"."email" IS 'The user''s email address; null if no user did it.';
COMMENT ON COLUMN {data}."who_did_what"."by_whom" IS 'user; employee: somebody at PostHog, in the user''s name; system: PostHog.';
COMMENT ON COLUMN {data}."who_did_what"."activity" IS 'What was done, such as created, updated or deleted.';
COMMENT ON COLUMN {data}."who_did_what"."scope" IS 'The kind of thing that it was done to, such as FeatureFlag.';
COMMENT ON COLUMN {data}."who_did_what"."item_name" IS 'Name of this thing, as it was then.';
COMMENT ON COLUMN {data}."who_did_what"."item_id" IS 'Its id.';
COMMENT ON COLUMN {data}."who_did_what"."changed" IS 'Names of the fields that were changed, in order; null if none is named.';
CREATE TABLE {data}.cohorts (
	project_id BIGINT NOT NULL, 
	id BIGINT NOT NULL, 
	name TEXT, 
	description TEXT, 
	filters JSONB, 
	groups JSONB, 
	query JSONB, 
	is_static BOOLEAN, 
	cohort_type TEXT, 
	condition_type TEXT, 
	experiment_set JSONB, 
	deleted BOOLEAN, 
	created_at TIMESTAMP WITH TIME ZONE, 
	created_by BIGINT, 
	version BIGINT, 
	last_calculation TIMESTAMP WITH TIME ZONE, 
	count BIGINT, 
	pending_version BIGINT, 
	last_backfill_person_properties_at TIMESTAMP WITH TIME ZONE, 
	is_calculating BOOLEAN, 
	errors_calculating BIGINT, 
	last_error_message TEXT, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT cohorts_pkey PRIMARY KEY (project_id, id)
);
COMMENT ON TABLE {data}.cohorts IS 'One row per cohort; who is in it, cohort_members tells.';
COMMENT ON COLUMN {data}.cohorts.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.cohorts.id IS 'PostHog''s id of the cohort.';
COMMENT ON COLUMN {data}.cohorts.name IS 'Name.';
COMMENT ON COLUMN {data}.cohorts.description IS 'Description.';
COMMENT ON COLUMN {data}.cohorts.filters IS 'Who belongs to it, as JSON; without compiled code.';
COMMENT ON COLUMN {data}.cohorts.groups IS 'Who belongs to it, in the old form, as JSON.';
COMMENT ON COLUMN {data}.cohorts.query IS 'The query it was made from, as JSON.';
COMMENT ON COLUMN {data}.cohorts.is_static IS 'Whether its persons were listed once and for all.';
COMMENT ON COLUMN {data}.cohorts.cohort_type IS 'How it is calculated.';
COMMENT ON COLUMN {data}.cohorts.condition_type IS 'Which conditions it has.';
COMMENT ON COLUMN {data}.cohorts.experiment_set IS 'Ids of experiments that use it.';
COMMENT ON COLUMN {data}.cohorts.deleted IS 'Whether a user deleted it. PostHog does not list deleted ones, so those that were deleted before the first sync are not here.';
COMMENT ON COLUMN {data}.cohorts.created_at IS 'When it was made.';
COMMENT ON COLUMN {data}.cohorts.created_by IS 'Id of the user who made it, see users.';
COMMENT ON COLUMN {data}.cohorts.version IS 'Number of the calculation that is shown.';
COMMENT ON COLUMN {data}.cohorts.last_calculation IS 'When it was last calculated.';
COMMENT ON COLUMN {data}.cohorts.count IS 'Persons in it, a count; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.pending_version IS 'Number of the calculation that was begun last; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.last_backfill_person_properties_at IS 'When it was last filled from person properties; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.is_calculating IS 'Whether it is being calculated; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.errors_calculating IS 'Calculations that failed in a row, a count; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.last_error_message IS 'Why the last calculation failed; only as fresh as _updated_at.';
COMMENT ON COLUMN {data}.cohorts.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.cohorts._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.cohorts._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.cohorts._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.cohorts._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.cohorts._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.cohorts._deleted_at IS 'When the row was found gone at the source.';
COMMENT ON TABLE {data}.person_distinct_ids IS 'Which person a distinct id belongs to, as last seen: in a recording, or in the list of persons if the stream persons is enabled. PostHog shows at most ten ids of a person in a recording, and at most 1,000 in the list, so an id that is not here may exist.';
COMMENT ON COLUMN {data}.persons.id IS 'PostHog''s numeric id of the person; the list of persons does not tell it.';
COMMENT ON TABLE {data}.persons IS 'One row per person, as last seen: in a recording, or in the list of persons if the stream persons is enabled. Without that stream only the persons of recordings are here, and none is marked deleted.';
CREATE TABLE {data}.cohort_members (
	project_id BIGINT NOT NULL, 
	cohort_id BIGINT NOT NULL, 
	person_uuid UUID NOT NULL, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT cohort_members_pkey PRIMARY KEY (project_id, cohort_id, person_uuid)
);
COMMENT ON TABLE {data}.cohort_members IS 'Who is in which cohort, as it was last calculated. A person who is deleted or merged leaves a cohort here with its next calculation.';
COMMENT ON COLUMN {data}.cohort_members.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.cohort_members.cohort_id IS 'Id of the cohort, see cohorts.';
COMMENT ON COLUMN {data}.cohort_members.person_uuid IS 'The person''s uuid, see persons.';
COMMENT ON COLUMN {data}.cohort_members.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.cohort_members._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.cohort_members._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.cohort_members._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.cohort_members._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.cohort_members._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.cohort_members._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {data}.group_related (
	project_id BIGINT NOT NULL, 
	group_type_index BIGINT NOT NULL, 
	group_key TEXT NOT NULL, 
	related_type_index BIGINT NOT NULL, 
	related_id TEXT NOT NULL, 
	person_uuid UUID, 
	extra JSONB, 
	_repaired TEXT[], 
	_observed_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_first_seen_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	_xid BIGINT NOT NULL, 
	_deleted_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT group_related_pkey PRIMARY KEY (project_id, group_type_index, group_key, related_type_index, related_id)
);
COMMENT ON TABLE {data}.group_related IS 'Persons and groups of other types that events of the last 90 days show with a group.';
COMMENT ON COLUMN {data}.group_related.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}.group_related.group_type_index IS 'Index of the group type, see group_types.';
COMMENT ON COLUMN {data}.group_related.group_key IS 'Key of the group.';
COMMENT ON COLUMN {data}.group_related.related_type_index IS 'Index of the group type of the related group, see group_types; -1: it is a person.';
COMMENT ON COLUMN {data}.group_related.related_id IS 'Key of the related group, or the person''s uuid.';
COMMENT ON COLUMN {data}.group_related.person_uuid IS 'The person''s uuid, see persons; null: it is a group.';
COMMENT ON COLUMN {data}.group_related.extra IS 'Fields that the catalogue does not know, as JSON.';
COMMENT ON COLUMN {data}.group_related._repaired IS 'Fields in which something that Postgres cannot hold was replaced.';
COMMENT ON COLUMN {data}.group_related._observed_at IS 'When the request for this content was sent.';
COMMENT ON COLUMN {data}.group_related._first_seen_at IS 'When the row was first written here.';
COMMENT ON COLUMN {data}.group_related._updated_at IS 'When the content last changed here.';
COMMENT ON COLUMN {data}.group_related._xid IS 'Transaction that last changed the row here.';
COMMENT ON COLUMN {data}.group_related._deleted_at IS 'When the row was found gone at the source.';
CREATE TABLE {book}.parent_lists (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	parent TEXT NOT NULL, 
	state TEXT, 
	pages BIGINT, 
	whole BOOLEAN NOT NULL, 
	settled BOOLEAN NOT NULL, 
	CONSTRAINT parent_lists_pkey PRIMARY KEY (project_id, stream, parent)
);
COMMENT ON TABLE {book}.parent_lists IS 'Of lists that each belong to a row: in which state of that row they were read.';
COMMENT ON COLUMN {book}.parent_lists.project_id IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {book}.parent_lists.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.parent_lists.parent IS 'Key of the row that the lists belong to.';
COMMENT ON COLUMN {book}.parent_lists.state IS 'What tells whether the lists have changed, as a JSON array, as it was before they were read; null if the source does not say.';
COMMENT ON COLUMN {book}.parent_lists.pages IS 'Answers that all of the lists took last, a count.';
COMMENT ON COLUMN {book}.parent_lists.whole IS 'Whether all of the lists was read in this state.';
COMMENT ON COLUMN {book}.parent_lists.settled IS 'Whether what they did not show was judged, too. If so, a sync leaves them out as long as the state stays the same.';
CREATE OR REPLACE VIEW {data}."people_overview" AS 
        SELECT
            p.project_id,
            p.uuid,
            p.name,
            p.properties ->> 'email' AS email,
            coalesce(r.recordings, 0) AS recordings,
            r.first_seen,
            r.last_seen,
            coalesce(c.cohorts, '{}') AS cohorts
        FROM {data}.persons AS p
        LEFT JOIN (
            SELECT
                project_id,
                person_uuid,
                count(*) AS recordings,
                min(start_time) AS first_seen,
                max(coalesce(end_time, start_time)) AS last_seen
            FROM {data}.session_recordings
            WHERE _deleted_at IS NULL AND _expired_at IS NULL
            GROUP BY project_id, person_uuid
        ) AS r
            ON r.project_id = p.project_id
            AND r.person_uuid = p.uuid
        LEFT JOIN (
            SELECT
                m.project_id,
                m.person_uuid,
                array_agg(c.name ORDER BY c.name, c.id) FILTER (WHERE c.name IS NOT NULL) AS cohorts
            FROM {data}.cohort_members AS m
            JOIN {data}.cohorts AS c
                ON c.project_id = m.project_id
                AND c.id = m.cohort_id
                AND c._deleted_at IS NULL
                AND c.deleted IS NOT TRUE
            WHERE m._deleted_at IS NULL
            GROUP BY m.project_id, m.person_uuid
        ) AS c
            ON c.project_id = p.project_id
            AND c.person_uuid = p.uuid
        WHERE p._deleted_at IS NULL;
COMMENT ON VIEW {data}."people_overview" IS 'Persons that are not deleted, what recordings show of them, and their cohorts.';
COMMENT ON COLUMN {data}."people_overview"."project_id" IS 'PostHog''s numeric project id.';
COMMENT ON COLUMN {data}."people_overview"."uuid" IS 'The person''s uuid.';
COMMENT ON COLUMN {data}."people_overview"."name" IS 'Display name.';
COMMENT ON COLUMN {data}."people_overview"."email" IS 'Email from the person''s properties, if there is one.';
COMMENT ON COLUMN {data}."people_overview"."recordings" IS 'Recordings that are neither deleted nor expired, a count.';
COMMENT ON COLUMN {data}."people_overview"."first_seen" IS 'Start of the first of these.';
COMMENT ON COLUMN {data}."people_overview"."last_seen" IS 'End of the last of these.';
COMMENT ON COLUMN {data}."people_overview"."cohorts" IS 'Names of the cohorts that the person is in, in order; empty if there are none. Filled by the stream cohort_members, which is off by default.';
ALTER TABLE {book}.runs ADD COLUMN waiting_for TEXT;
COMMENT ON COLUMN {book}.runs.waiting_for IS 'What the run waits for; null: for nothing.';
ALTER TABLE {book}.runs ADD COLUMN waiting_since TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN {book}.runs.waiting_since IS 'When this wait began.';
ALTER TABLE {book}.runs ADD COLUMN waiting_until TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN {book}.runs.waiting_until IS 'When it ends; null: nobody knows.';
COMMENT ON COLUMN {book}.runs.waited_s IS 'Time waited for limits, a place among the queries or a source that does not answer, in seconds; without a wait under way.';
CREATE TABLE {book}.alerts (
	id UUID NOT NULL, 
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	detail TEXT NOT NULL, 
	began_at TIMESTAMP WITH TIME ZONE NOT NULL, 
	ended_at TIMESTAMP WITH TIME ZONE, 
	unwatched BOOLEAN NOT NULL, 
	CONSTRAINT alerts_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE {book}.alerts IS 'What needs somebody''s attention, and what did until everyone was told of its end.';
COMMENT ON COLUMN {book}.alerts.id IS 'Id of the alert.';
COMMENT ON COLUMN {book}.alerts.project_id IS 'PostHog''s numeric project id; 0: @current, before its number is known.';
COMMENT ON COLUMN {book}.alerts.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.alerts.kind IS 'failed, partial, stale, rejects, withheld, differences or drift.';
COMMENT ON COLUMN {book}.alerts.subject IS 'TABLE.FIELD of a drift; empty for other kinds.';
COMMENT ON COLUMN {book}.alerts.detail IS 'What is told of it, in one line; no personal data.';
COMMENT ON COLUMN {book}.alerts.began_at IS 'When it was first found.';
COMMENT ON COLUMN {book}.alerts.ended_at IS 'When it was found over; null while it is open.';
COMMENT ON COLUMN {book}.alerts.unwatched IS 'Whether it ended because the settings leave it out now.';
CREATE UNIQUE INDEX alerts_open ON {book}.alerts (project_id, stream, kind, subject) WHERE ended_at IS NULL;
CREATE TABLE {book}.alert_messages (
	project_id BIGINT NOT NULL, 
	alert_id UUID NOT NULL, 
	channel TEXT NOT NULL, 
	event TEXT NOT NULL, 
	holder UUID, 
	expires_at TIMESTAMP WITH TIME ZONE, 
	tried BOOLEAN NOT NULL, 
	told_at TIMESTAMP WITH TIME ZONE, 
	CONSTRAINT alert_messages_pkey PRIMARY KEY (alert_id, channel, event)
);
COMMENT ON TABLE {book}.alert_messages IS 'What is told of each alert by each channel.';
COMMENT ON COLUMN {book}.alert_messages.project_id IS 'PostHog''s numeric project id; 0: @current, before its number is known.';
COMMENT ON COLUMN {book}.alert_messages.alert_id IS 'Id of the alert.';
COMMENT ON COLUMN {book}.alert_messages.channel IS 'webhook or email.';
COMMENT ON COLUMN {book}.alert_messages.event IS 'began or ended.';
COMMENT ON COLUMN {book}.alert_messages.holder IS 'Which process is telling it; null: none, or it is told.';
COMMENT ON COLUMN {book}.alert_messages.expires_at IS 'Until when that process may take.';
COMMENT ON COLUMN {book}.alert_messages.tried IS 'Whether it may have been told already.';
COMMENT ON COLUMN {book}.alert_messages.told_at IS 'When it was told; null until then.';
CREATE TABLE {book}.watched_streams (
	project_id BIGINT NOT NULL, 
	stream TEXT NOT NULL, 
	since TIMESTAMP WITH TIME ZONE NOT NULL, 
	CONSTRAINT watched_streams_pkey PRIMARY KEY (project_id, stream)
);
COMMENT ON TABLE {book}.watched_streams IS 'Streams that are to succeed again and again: one that never did is stale, too.';
COMMENT ON COLUMN {book}.watched_streams.project_id IS 'PostHog''s numeric project id; 0: @current, before its number is known.';
COMMENT ON COLUMN {book}.watched_streams.stream IS 'Name of the stream, as `posthog-etl streams` lists it.';
COMMENT ON COLUMN {book}.watched_streams.since IS 'When its success was first waited for.';
ALTER TABLE {book}.runs ADD COLUMN fault TEXT;
COMMENT ON COLUMN {book}.runs.fault IS 'What is at fault if it did not succeed: key, unavailable (to this key), source, database, defect, died, stopped, withheld (deletions), rejects; null: none of these.';
ALTER TABLE {book}.runs ADD COLUMN complete_until TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN {book}.runs.complete_until IS 'Up to when the stream was known complete at the end of the run; null: not known.';
CREATE INDEX runs_by_start ON {book}.runs (started_at, id);
COMMENT ON TABLE {book}.requests IS 'Requests of the last two hours, for all processes that share this database.';
