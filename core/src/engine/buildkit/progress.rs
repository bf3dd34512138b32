//! BuildKit's progress as plain lines, in the form of Docker's `--progress=plain`.

use std::collections::{HashMap, HashSet};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexStatus};

use crate::engine::request::StepCounts;

/// Size limit of a line of a step's output. A longer line is written in pieces.
const MAX_LINE: usize = 64 << 10;

/// Start of the line that BuildKit writes in place of output that it leaves out: `[output clipped, log limit 2MiB
/// reached]`, or `200KiB/s`.
const CLIPPED: &[u8] = b"[output clipped, log limit ";
/// The kernel's message about a program of another architecture, which runc and shells pass on.
const FOREIGN: &[u8] = b"exec format error";

#[derive(Default)]
pub(in crate::engine) struct BuildkitProgress {
    steps: HashMap<String, BuildkitStep>,
    /// Ends of steps whose last line is incomplete. BuildKit may report the end of a step before its last output.
    deferred: Vec<Vertex>,
    /// Digest of the step that failed first.
    failed: Option<String>,
}

/// Messages that were found in a step's output.
#[derive(Default)]
struct OutputSigns {
    is_clipped: bool,
    is_foreign: bool,
}

struct BuildkitStep {
    number: usize,
    name: String,
    announced: bool,
    /// Time of its end, once that is written. A step may run again.
    ended: Option<Timestamp>,
    cached: bool,
    /// Incomplete line of output.
    output: Vec<u8>,
    /// The last line of output that is not empty.
    last_line: Vec<u8>,
    /// Parts (layers pulled, files sent) whose end is written.
    parts: HashSet<String>,
    signs: OutputSigns,
}

impl BuildkitProgress {
    /// Returns the lines that `status` adds, each with its line end.
    pub(super) fn add(&mut self, status: StatusResponse) -> Vec<u8> {
        let mut out = Vec::new();
        for vertex in &status.vertexes {
            let step = self.step(&vertex.digest);
            step.name.clone_from(&vertex.name);
            if vertex.cached || vertex.started.is_some() {
                step.announce(&mut out);
            }
        }
        for part in &status.statuses {
            self.step(&part.vertex).part(part, &mut out);
        }
        for log in &status.logs {
            self.step(&log.vertex).log(&log.msg, &mut out);
        }
        for warning in &status.warnings {
            let step = self.step(&warning.vertex);
            step.line(&format!("WARNING: {}", String::from_utf8_lossy(&warning.short)), &mut out);
        }
        let failed = status.vertexes.iter().find(|vertex| !vertex.error.is_empty());
        self.failed = self.failed.take().or_else(|| failed.map(|vertex| vertex.digest.clone()));
        let has_logs = |vertex: &Vertex| status.logs.iter().any(|log| log.vertex == vertex.digest);
        for vertex in std::mem::take(&mut self.deferred) {
            self.end(vertex, has_logs, &mut out);
        }
        for vertex in status.vertexes {
            self.end(vertex, |_| true, &mut out);
        }
        out
    }

    /// Ends a step, or defers the end if its last line is incomplete and more output `may_follow`.
    fn end(&mut self, vertex: Vertex, may_follow: impl Fn(&Vertex) -> bool, out: &mut Vec<u8>) {
        let step = self.step(&vertex.digest);
        match vertex.completed.is_some() && !step.output.is_empty() && may_follow(&vertex) {
            true => self.deferred.push(vertex),
            false => step.end(&vertex, out),
        }
    }

    /// Returns the incomplete lines of all steps and their deferred ends, at the end of the build.
    pub(in crate::engine) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for vertex in std::mem::take(&mut self.deferred) {
            self.end(vertex, |_| false, &mut out);
        }
        let mut steps: Vec<_> = self.steps.values_mut().collect();
        steps.sort_by_key(|step| step.number);
        steps.into_iter().for_each(|step| step.flush(&mut out));
        out
    }

    /// Returns the name of the step that failed first, and the last line that it wrote.
    pub(super) fn failed_step(&self) -> Option<(&str, String)> {
        let step = self.steps.get(self.failed.as_ref()?)?;
        Some((&step.name, String::from_utf8_lossy(&step.last_line).into_owned()))
    }

    /// Returns true if the engine left out a part of a step's output.
    pub(in crate::engine) fn is_clipped(&self) -> bool {
        self.steps.values().any(|step| step.signs.is_clipped)
    }

    /// Returns true if a step started a program that the engine's machine cannot run.
    pub(in crate::engine) fn is_foreign(&self) -> bool {
        self.steps.values().any(|step| step.signs.is_foreign)
    }

    /// Counts the Dockerfile's steps that have ended, such as `[1/2] FROM busybox` and `[build 2/3] RUN make`. The
    /// builder has other steps of its own, for example to load the Dockerfile.
    pub(in crate::engine) fn steps(&self) -> StepCounts {
        let own = |name: &str| name.starts_with('[') && !name.starts_with("[internal]") && !name.starts_with("[auth]");
        let ended = || self.steps.values().filter(|step| step.ended.is_some() && own(&step.name));
        let cached = ended().filter(|step| step.cached).count() as u64;
        StepCounts { cached, run: ended().count() as u64 - cached }
    }

    fn step(&mut self, digest: &str) -> &mut BuildkitStep {
        let number = self.steps.len() + 1;
        self.steps.entry(digest.into()).or_insert_with(|| BuildkitStep {
            number,
            name: String::new(),
            announced: false,
            ended: None,
            cached: false,
            output: Vec::new(),
            last_line: Vec::new(),
            parts: HashSet::new(),
            signs: OutputSigns::default(),
        })
    }
}

impl BuildkitStep {
    fn line(&self, text: &str, out: &mut Vec<u8>) {
        for line in text.lines() {
            out.extend(format!("#{} {line}\n", self.number).into_bytes());
        }
    }

    fn announce(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.announced, true) {
            self.line(&self.name, out);
        }
    }

    /// Writes a line when a part ends. The reports in between, ten a second, are skipped.
    fn part(&mut self, part: &VertexStatus, out: &mut Vec<u8>) {
        if part.completed.is_none() || !self.parts.insert(part.id.clone()) {
            return;
        }
        let size = if part.current > 0 { format!(" {}", size(part.current)) } else { String::new() };
        let name = if part.name.is_empty() { &part.id } else { &part.name };
        self.line(&format!("{name}{size} done"), out);
    }

    fn log(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for piece in text.split_inclusive(|&b| b == b'\n') {
            self.output.extend(piece);
            if piece.ends_with(b"\n") || self.output.len() >= MAX_LINE {
                self.flush(out);
            }
        }
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        if !self.output.is_empty() {
            let line = self.output.trim_ascii_end();
            self.signs.is_clipped |= line.starts_with(CLIPPED);
            self.signs.is_foreign |= line.ends_with(FOREIGN);
            out.extend(format!("#{} ", self.number).into_bytes());
            out.extend(line);
            out.push(b'\n');
            if !line.is_empty() {
                self.last_line.clear();
                self.last_line.extend(line);
            }
            self.output.clear();
        }
    }

    fn end(&mut self, vertex: &Vertex, out: &mut Vec<u8>) {
        if vertex.completed.is_none() || vertex.completed == self.ended {
            return;
        }
        self.ended = vertex.completed;
        self.cached = vertex.cached;
        self.flush(out);
        if !vertex.error.is_empty() {
            self.line(&format!("ERROR {}", vertex.error), out);
        } else if vertex.cached {
            self.line("CACHED", out);
        } else {
            self.line(&format!("DONE {:.1}s", seconds(vertex.started, vertex.completed)), out);
        }
    }
}

fn seconds(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    let seconds = |t: Timestamp| t.seconds as f64 + f64::from(t.nanos) / 1e9;
    from.zip(to).map_or(0.0, |(from, to)| (seconds(to) - seconds(from)).max(0.0))
}

fn size(bytes: i64) -> String {
    match bytes as f64 {
        n if n < 1e3 => format!("{n} B"),
        n if n < 1e6 => format!("{:.1} kB", n / 1e3),
        n if n < 1e9 => format!("{:.1} MB", n / 1e6),
        n => format!("{:.1} GB", n / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::moby::buildkit::v1::VertexLog;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn vertex(name: &str) -> Vertex {
        Vertex { digest: name.into(), name: name.into(), ..Vertex::default() }
    }

    fn text(progress: &mut BuildkitProgress, status: StatusResponse) -> String {
        String::from_utf8(progress.add(status)).unwrap()
    }

    #[test]
    fn a_step_is_announced_once_and_ends() {
        let mut progress = BuildkitProgress::default();
        let of = |vertexes| StatusResponse { vertexes, ..StatusResponse::default() };
        let waiting = vertex("[2/2] COPY a /");
        let started = Vertex { started: at(5), ..waiting.clone() };
        let done = Vertex { completed: at(7), ..started.clone() };
        assert_eq!(text(&mut progress, of(vec![vertex("[1/2] FROM busybox"), waiting])), "");
        assert_eq!(text(&mut progress, of(vec![started.clone()])), "#2 [2/2] COPY a /\n");
        assert_eq!(text(&mut progress, of(vec![started])), "");
        assert_eq!(text(&mut progress, of(vec![done.clone()])), "#2 DONE 2.0s\n");
        assert_eq!(text(&mut progress, of(vec![done])), "");
        let cached = Vertex { cached: true, completed: at(7), ..vertex("[1/2] FROM busybox") };
        assert_eq!(text(&mut progress, of(vec![cached])), "#1 [1/2] FROM busybox\n#1 CACHED\n");
        assert_eq!(progress.failed_step(), None);
        let own = Vertex { started: at(7), completed: at(8), ..vertex("[internal] load build definition") };
        progress.add(of(vec![own]));
        assert_eq!(progress.steps(), StepCounts { cached: 1, run: 1 });
    }

    #[test]
    fn output_is_written_line_by_line() {
        let mut progress = BuildkitProgress::default();
        let log = |msg: &[u8]| StatusResponse {
            logs: vec![VertexLog { vertex: "v".into(), msg: msg.into(), ..VertexLog::default() }],
            ..StatusResponse::default()
        };
        assert_eq!(text(&mut progress, log(b"one\r\n\ntw")), "#1 one\n#1 \n");
        assert_eq!(text(&mut progress, log(b"o\nthree")), "#1 two\n");
        assert_eq!(progress.finish(), b"#1 three\n");
        assert!(progress.add(log(&[0xff, b'\n'])).contains(&0xff));
        let long = progress.add(log(&vec![b'x'; MAX_LINE + 1]));
        assert_eq!(long.iter().filter(|&&b| b == b'\n').count(), 1);
    }

    #[test]
    fn the_end_of_a_step_breaks_no_line() {
        let log = |msg: &[u8]| vec![VertexLog { vertex: "v".into(), msg: msg.into(), ..VertexLog::default() }];
        let ended = || vec![Vertex { digest: "v".into(), started: at(1), completed: at(2), ..vertex("RUN x") }];
        let first = || StatusResponse { vertexes: ended(), logs: log(b"one\ntw"), ..StatusResponse::default() };
        let mut progress = BuildkitProgress::default();
        assert_eq!(text(&mut progress, first()), "#1 RUN x\n#1 one\n");
        let second = StatusResponse { logs: log(b"o\n"), ..StatusResponse::default() };
        assert_eq!(text(&mut progress, second), "#1 two\n#1 DONE 1.0s\n");
        // A step may end with an incomplete line.
        let mut progress = BuildkitProgress::default();
        progress.add(first());
        assert_eq!(text(&mut progress, StatusResponse::default()), "#1 tw\n#1 DONE 1.0s\n");
        let mut progress = BuildkitProgress::default();
        progress.add(first());
        assert_eq!(progress.finish(), b"#1 tw\n#1 DONE 1.0s\n");
    }

    #[test]
    fn messages_in_the_output_are_found() {
        let seen = |text: &str| {
            let mut progress = BuildkitProgress::default();
            let log = VertexLog { vertex: "v".into(), msg: text.into(), ..VertexLog::default() };
            progress.add(StatusResponse { logs: vec![log], ..StatusResponse::default() });
            progress.finish();
            (progress.is_clipped(), progress.is_foreign())
        };
        assert_eq!(seen("half a li\n[output clipped, log limit 1MiB reached]\n"), (true, false));
        assert_eq!(seen("x\n[output clipped, log limit 200KiB/s reached]"), (true, false));
        assert_eq!(seen("exec /bin/sh: exec format error\n"), (false, true));
        assert_eq!(seen("grep '[output clipped, log limit ' log\nno exec format error here\n"), (false, false));
    }

    #[test]
    fn the_failed_step_is_remembered() {
        let mut progress = BuildkitProgress::default();
        let failed = Vertex { started: at(1), completed: at(2), error: "exit code: 3".into(), ..vertex("RUN x") };
        let log = VertexLog { vertex: "RUN x".into(), msg: "first\nla".into(), ..VertexLog::default() };
        let status = StatusResponse { vertexes: vec![failed], logs: vec![log], ..StatusResponse::default() };
        assert_eq!(text(&mut progress, status), "#1 RUN x\n#1 first\n");
        // BuildKit may report the end of a step before its last output.
        let rest = VertexLog { vertex: "RUN x".into(), msg: "st\n\n".into(), ..VertexLog::default() };
        let status = StatusResponse { logs: vec![rest], ..StatusResponse::default() };
        assert_eq!(text(&mut progress, status), "#1 last\n#1 \n#1 ERROR exit code: 3\n");
        assert_eq!(progress.failed_step(), Some(("RUN x", "last".to_owned())));
    }

    #[test]
    fn parts_are_written_when_done() {
        let mut progress = BuildkitProgress::default();
        let part = |completed, current| StatusResponse {
            statuses: vec![VertexStatus {
                id: "sha256:ab".into(),
                vertex: "v".into(),
                completed,
                current,
                ..VertexStatus::default()
            }],
            ..StatusResponse::default()
        };
        assert_eq!(text(&mut progress, part(None, 5)), "");
        assert_eq!(text(&mut progress, part(at(2), 2_500_000)), "#1 sha256:ab 2.5 MB done\n");
        assert_eq!(text(&mut progress, part(at(2), 2_500_000)), "");
    }
}
