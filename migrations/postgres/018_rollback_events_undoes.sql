-- Finds at once whether a rollback was taken back.
CREATE INDEX idx_deployment_rollback_events_undoes_id ON deployment_rollback_events (undoes_id)
    WHERE undoes_id IS NOT NULL;
