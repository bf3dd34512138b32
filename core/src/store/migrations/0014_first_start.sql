-- When the first attempt of a job began; `start_time` is that of the present one.
ALTER TABLE jobs ADD COLUMN first_start BIGINT;
