#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = image_factory::model::names_syntax(data);
    let _ = image_factory::model::instructions(data);
    let (text, args) = (String::from_utf8_lossy(data), [("GIVEN".to_owned(), "value".to_owned())].into());
    let _ = image_factory::model::base_images(&text, &args);
    let _ = image_factory::model::remote_sources(&text, &args);
    let _ = image_factory::model::overgrown_line(&text, &args);
});
