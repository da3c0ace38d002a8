-- Finds what a rollback left behind, when it is taken back.
CREATE INDEX idx_holds_rollback_id ON holds (rollback_id) WHERE rollback_id IS NOT NULL;
CREATE INDEX idx_deployments_passed_by_rollback_id ON deployments (passed_by_rollback_id)
    WHERE passed_by_rollback_id IS NOT NULL;
