#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    image_factory::secrets::fuzzing::etcd_v2(data);
});
