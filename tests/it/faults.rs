//! One part after another fails. Users see why, nothing is lost, and all goes on by itself.

mod clock;
mod disk;
mod etcd;
mod git;
mod receivers;
mod registry;
mod ssh;
