/// Where the output of a job's programs goes. The job's log is one; a test's buffer another.
pub trait LogSink: Send + Sync {
    /// Appends bytes as they came; an error of the log's own is the log's to report.
    fn write(&self, bytes: &[u8]);

    /// Something went on that is not worth a line: part of a file or of a layer was sent.
    fn alive(&self) {}
}
