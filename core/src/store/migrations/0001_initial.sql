-- Portable to PostgreSQL: TEXT and BIGINT only, times in epoch milliseconds, JSON as TEXT, 0 and 1 for booleans.

CREATE TABLE jobs (
    id               TEXT PRIMARY KEY,          -- UUIDv7: sorts by the time of its making
    context          TEXT NOT NULL,             -- JSON, as the sender gave it
    pushed           BIGINT NOT NULL,           -- the commit is the `after` of a signed push
    image            TEXT NOT NULL,
    status           TEXT NOT NULL,             -- pending, running, success, failure, cancelled
    attempt          BIGINT NOT NULL,
    stages           TEXT NOT NULL,             -- JSON, a list of stage records
    resolved_commit  TEXT,
    digest           TEXT,
    cause            TEXT,
    cancel_requested BIGINT NOT NULL,
    created          BIGINT NOT NULL,
    start_time       BIGINT,                    -- of the present attempt
    end_time         BIGINT,
    claimed_by       TEXT,                      -- the node that runs it
    lease_until      BIGINT                     -- its claim ends here unless it renews it
);
CREATE INDEX jobs_by_status ON jobs (status, id);

-- A delivery is its own dedupe mark: a later one with the same route and digest replaces it when it has expired.
CREATE TABLE deliveries (
    route    TEXT NOT NULL,
    digest   TEXT NOT NULL,                     -- SHA-256 of the raw body, hex
    delivery TEXT,                              -- the sender's id of it
    event    TEXT NOT NULL,
    job      TEXT NOT NULL,
    received BIGINT NOT NULL,
    PRIMARY KEY (route, digest)
);

CREATE TABLE outbox (
    id       TEXT PRIMARY KEY,                  -- UUIDv7
    job      TEXT NOT NULL,
    channel  TEXT NOT NULL,
    body     TEXT NOT NULL,
    state    TEXT NOT NULL,                     -- due, sent, dead
    attempts BIGINT NOT NULL,
    created  BIGINT NOT NULL,
    next_at  BIGINT NOT NULL,                   -- when it is tried next, or was finished
    error    TEXT                               -- of the last attempt
);
CREATE INDEX outbox_by_state ON outbox (state, next_at);

-- One row, written to prove that a write can be made durable.
CREATE TABLE pulse (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL
);
