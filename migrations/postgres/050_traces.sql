-- An operation as a trace: the span of whoever asked for it, if there was one; and, once it has ended, what became of its trace:
-- `sent`, `refused` by the collector, or `unwanted`, because the one who asked for it is not traced.
ALTER TABLE operations ADD COLUMN traceparent TEXT;
ALTER TABLE operations ADD COLUMN trace TEXT;
ALTER TABLE operations ADD COLUMN trace_error TEXT;
CREATE INDEX idx_operations_untold ON operations (ended_at) WHERE trace IS NULL AND status IN ('completed', 'undone');
