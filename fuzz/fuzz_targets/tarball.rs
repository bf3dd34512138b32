#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    image_factory::git::fuzzing::tarball(data);
});
