use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex, Weak};

const LOCK: &str = "/tmp/image-factory-test-machine.lock";

/// The machine, as far as it cannot be shared: for engines that are killed, stopped and filled, and for what counts
/// things of the whole kernel, such as the OOM killer's kills. Of all tests of all suites on this machine one has it.
pub struct Machine(#[allow(dead_code, reason = "the kernel keeps the lock while it is open")] File);

impl Machine {
    /// Waits until nobody else has it, for as long as it takes: a test's own limits begin thereafter. (nextest's count
    /// the waiting: see `.config/nextest.toml`.) A test may take it more than once.
    pub async fn take() -> Arc<Self> {
        static TAKEN: Mutex<Weak<Machine>> = Mutex::new(Weak::new());
        tokio::task::spawn_blocking(|| {
            let mut taken = TAKEN.lock().unwrap();
            taken.upgrade().unwrap_or_else(|| {
                let file = File::open(LOCK).unwrap_or_else(|_| {
                    let file = File::options().create(true).append(true).open(LOCK).unwrap();
                    // For every user: to lock a file is to read it.
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
