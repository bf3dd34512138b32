#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = image_factory::logs::ansi_html::render(data);
});
