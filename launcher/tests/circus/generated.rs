//! Files made at random from what such projects write.

use std::fmt::Write;

use crate::random::Random;

/// A file, and what is to be seen of it.
pub struct Generated {
    pub ini: String,
    /// Number of processes that note what they were given, children included.
    pub processes: usize,
    /// Number of lines that the files of streams have in the end.
    pub lines: usize,
    /// The signal that stops the supervisor.
    pub signal: &'static str,
}

/// Words of a command, among them those in which shells, circus and Python's `shlex` differ.
const WORDS: [&str; 18] = [
    "plain",
    "'c d'",
    "\"e\\\"f\"",
    "x#y",
    "#z",
    "\\#",
    "''",
    "~",
    "$HOME",
    "$(circus.env.HOME)",
    "((circus.env.own))",
    "$(circus.wid)",
    "$(circus.priority)",
    "((circus.numprocesses))",
    "$(circus.none)",
    "é",
    "a=b:c,{d}%s",
    "$((1 + 1))",
];

impl Random {
    fn words(&mut self) -> String {
        (0..self.below(4)).map(|_| format!(" {}", WORDS[self.below(WORDS.len())])).collect()
    }
}

/// Returns the file of a seed.
pub fn file(seed: u64) -> Generated {
    let mut random = Random(seed);
    let signal = random.of(&["TERM", "INT", "QUIT"]);
    let mut generated = Generated { ini: String::new(), processes: 0, lines: 0, signal };
    // Pauses make the order of the starts visible, and take a second each.
    let is_slow = random.one_in(10);
    if is_slow {
        generated.ini += "warmup_delay = 1\n";
    }
    generated.ini += random.of(&["", "check_delay = 1\n", "; a remark\n# another\ndebug = False\n"]);
    for number in 0..1 + random.below(4) {
        watcher(&mut random, &mut generated, number, is_slow);
    }
    for section in ["env", "env:w*", "env:w0,w2", "env:*1"] {
        if random.one_in(3) {
            let _ = writeln!(generated.ini, "[{section}]");
            for _ in 0..1 + random.below(3) {
                let name = random.of(&["SHARED", "OWN", "lower", "Mixed_1"]);
                let value = random.of(&["of all", "$HOME/x", "$home", "a ; no", "\"\"", "'q'", "a$$b", "1"]);
                let _ = writeln!(generated.ini, "{name} = {value}");
            }
        }
    }
    generated
}

fn watcher(random: &mut Random, generated: &mut Generated, number: usize, is_slow: bool) {
    let name = format!("{}{number}", random.of(&["w", "w", "x.", "y-z_"]));
    let mut options: Vec<String> = Vec::new();
    let count = if is_slow { 1 } else { [1, 1, 1, 2, 3][random.below(5)] };
    // A child notes what it gets, too. A deaf process has to be killed, and one that comes again ends once by itself.
    // The first one lasts, and a second start has no place in an order.
    let (ends, again) = (if number > 0 { "ends" } else { "" }, if is_slow { "" } else { "again" });
    let kind = random.of(&["", "", "", "", "child", "deaf", again, ends]);
    let (words, first) =
        (random.words(), format!("{name} $(circus.wid){}{kind}", if kind.is_empty() { "" } else { " " }));
    match random.below(4) {
        0 => options.extend(["cmd = DIR/record".into(), format!("args = {first}{words}")]),
        1 => options.extend(["cmd = DIR/record".into(), format!("args =\n  {first}\n {words}\n")]),
        2 => options.extend([format!("cmd = exec DIR/record {first}{words}"), "shell = True".into()]),
        _ => options.push(format!("cmd = DIR/record {first}{words}  ; starts")),
    }
    if count > 1 || random.one_in(5) {
        options.push(format!("numprocesses = {count}"));
    }
    if is_slow || random.one_in(2) {
        options.push(format!("priority = {}", [7, -1, 0, 3][number]));
    }
    options.extend([
        random.of(&["", "", "uid = nobody", "uid = 1\ngid = 2", "gid = daemon", "uid = nobody\ngid = daemon"]).into(),
        random.of(&["", "", "working_dir = /usr", "working_dir = DIR"]).into(),
        random.of(&["", "copy_env = True", "copy_env = no"]).into(),
        // A shell's children in the background ignore INT and QUIT.
        match kind {
            "child" => random.of(&["", "stop_signal = SIGUSR1"]),
            _ => random.of(&[
                "",
                "",
                "stop_signal = INT",
                "stop_signal = SIGUSR1",
                "stop_signal = 3",
                "stop_signal = quit",
            ]),
        }
        .into(),
        random.of(&["", "", "max_retry = 3\nmax_retry = x", "send_hup = True", "Colour = red"]).into(),
    ]);
    if count == 1 {
        options.push(random.of(&["", "", "singleton = True"]).into());
        if random.one_in(3) {
            let file = format!("stdout_stream.filename = DIR/stream.{name}.out");
            let class = random.of(&["FileStream", "circus.stream.FileStream", "WatchedFileStream"]);
            options.extend([file, format!("stdout_stream.class = {class}")]);
            options.push(random.of(&["", "stdout_stream.time_format = at", "stdout_stream.backup_count = 2"]).into());
        }
        if random.one_in(4) {
            options.push(format!("stderr_stream.filename = DIR/stream.{name}.err"));
        }
    }
    match kind {
        "child" => options.push("stop_children = True".into()),
        "deaf" => options.push("graceful_timeout = 0.5".into()),
        "ends" => options.push("respawn = False".into()),
        _ => options.push(random.of(&["", "graceful_timeout = 20", "stop_children = True"]).into()),
    }
    let starts = number == 0 || !random.one_in(6);
    if !starts {
        options.push("autostart = False".into());
    }
    let _ = writeln!(generated.ini, "[watcher:{name}]");
    options.iter().filter(|option| !option.is_empty()).for_each(|option| {
        let _ = writeln!(generated.ini, "{option}");
    });
    let processes = usize::from(starts) * count * if kind == "child" { 2 } else { 1 };
    generated.processes += processes;
    generated.lines += processes * options.concat().matches("_stream.filename").count();
}
