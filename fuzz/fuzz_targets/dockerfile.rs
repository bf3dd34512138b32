#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = image_factory::model::names_syntax(data);
    let _ = image_factory::model::instructions(data);
});
