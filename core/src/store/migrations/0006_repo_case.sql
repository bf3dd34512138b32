-- The rule by which the columns `repository` were written. Before this version it was always `ignore`: lower case.
CREATE TABLE repo_case (
    rule TEXT NOT NULL                          -- ignore, keep
);
INSERT INTO repo_case (rule) VALUES ('ignore');
