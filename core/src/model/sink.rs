/// Receiver of the output of a job's programs: the job's log, or a buffer in a test.
pub trait LogSink: Send + Sync {
    /// Appends the bytes unchanged. The sink reports its own errors.
    fn write(&self, bytes: &[u8]);

    /// Notes progress that is not worth a line: part of a file or of a layer was sent.
    fn alive(&self) {}

    /// Returns the text as the log would show it, without the job's secrets.
    fn masked(&self, text: &str) -> String {
        text.to_owned()
    }
}
