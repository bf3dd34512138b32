//! A log's masking: what a build prints, through the masks of a daemon with a dozen secrets and a deploy key.

use std::time::Instant;

use image_factory::logs::Logs;
use image_factory::model::{JobId, LogSink};
use zeroize::Zeroizing;

use super::Row;
use super::harness::{DeployKey, KeyType, folder};

const SIZE: usize = 64 << 20;

pub fn measure() -> Vec<Row> {
    let dir = folder();
    let logs = Logs::open(dir.path().join("logs")).unwrap();
    let id = JobId::new();
    // The disk is not what is measured.
    std::os::unix::fs::symlink("/dev/null", dir.path().join(format!("logs/{id}.log"))).unwrap();
    let writer = logs.writer(id);
    let mut secrets: Vec<_> = (0..12).map(|_| Zeroizing::new(format!("{:032x}", fastrand::u128(..)))).collect();
    secrets.push(Zeroizing::new(DeployKey::generate(KeyType::Rsa, "").private));
    let start = Instant::now();
    writer.mask(&secrets);
    let compiled = start.elapsed();
    let mut text = String::with_capacity(SIZE);
    for n in 0.. {
        if text.len() >= SIZE {
            break;
        }
        let noise = n * 2_654_435_761_u64 % 0xffff_ffff;
        text +=
            &format!("#{} {noise:08x} Compiling module {n} of the application (./src/part-{noise}/index.ts)\n", n % 30);
    }
    let start = Instant::now();
    for chunk in text.as_bytes().chunks(16 << 10) {
        writer.write(chunk);
    }
    let rate = text.len() as f64 / 1e6 / start.elapsed().as_secs_f64();
    vec![
        Row {
            what: "a log with 13 secrets masked".into(),
            measured: format!("{rate:.0} MB/s"),
            target: "≥ 50 MB/s".into(),
            met: rate >= 50.0,
        },
        Row {
            what: "to prepare the masks of a job".into(),
            measured: super::ms(compiled),
            target: "< 100 ms".into(),
            met: compiled.as_millis() < 100,
        },
    ]
}
