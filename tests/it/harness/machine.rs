use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, Weak};

const LOCK: &str = "/tmp/image-factory-test-machine.lock";

/// The lock of the machine: one test has it, of all suites on this machine. It is for tests whose engine is killed,
/// stopped or filled, and for those that read a counter of the whole kernel, such as the OOM killer's kills.
pub struct Machine(#[allow(dead_code, reason = "the kernel keeps the lock while it is open")] File);

impl Machine {
    /// Waits until nobody else has it, for as long as it takes, so a test's own limits begin thereafter. nextest's limit
    /// counts the waiting (see `.config/nextest.toml`). A test may take the lock more than once.
    pub async fn take() -> Arc<Self> {
        static TAKEN: Mutex<Weak<Machine>> = Mutex::new(Weak::new());
        tokio::task::spawn_blocking(|| {
            let mut taken = TAKEN.lock().unwrap();
            taken.upgrade().unwrap_or_else(|| {
                let file = File::open(LOCK).unwrap_or_else(|_| {
                    let file = File::options().create(true).append(true).open(LOCK).unwrap();
                    // Every user may take the lock, because locking a file needs no more than reading it.
                    file.set_permissions(Permissions::from_mode(0o644)).unwrap();
                    file
                });
                file.lock().unwrap();
                let machine = Arc::new(Self(file));
                *taken = Arc::downgrade(&machine);
                machine
            })
        })
        .await
        .unwrap()
    }
}
