-- Engines that take no new job until an operator says otherwise.
CREATE TABLE cordons (
    engine TEXT PRIMARY KEY,                    -- the engine's address, as DOCKER_HOST has it
    since BIGINT NOT NULL,
    cordoned_by TEXT NOT NULL                    -- the name of the token that asked
);
-- The number of attempts that ended because an operator drained their engine.
ALTER TABLE jobs ADD COLUMN moves BIGINT NOT NULL DEFAULT 0;
