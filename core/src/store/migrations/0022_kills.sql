-- The boot of the machine in which a node's process runs; none once that process was asked to stop.
CREATE TABLE processes (
    node TEXT PRIMARY KEY,
    boot TEXT NOT NULL
);
-- The job is in clone, checkout or sending its context, where a commit decides what the daemon does.
ALTER TABLE jobs ADD COLUMN exposed BIGINT NOT NULL DEFAULT 0;
-- The number of times that a signal ended the daemon meanwhile.
ALTER TABLE jobs ADD COLUMN kills BIGINT NOT NULL DEFAULT 0;
