//! The time before a line of output, in a format of strftime(3).

use std::ffi::CString;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest text of a time, in bytes. A longer one is left out.
const LONGEST: usize = 256;

/// Returns the time of now, here, as Python's `datetime.now().strftime(format)` does.
pub fn now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let format = for_c(format, now.subsec_micros());
    let Ok(format) = CString::new(format) else { return String::new() };
    let seconds = now.as_secs() as libc::time_t;
    let mut buffer = [0_u8; LONGEST];
    #[expect(unsafe_code, reason = "std knows neither time zones nor formats of times")]
    // SAFETY: `tm` is plain data, for which zeros are a value; both functions write within what they are given, and the
    // launcher sets no variable of its own environment, of which localtime_r(3) reads TZ.
    let length = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::localtime_r(&seconds, &mut time);
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &time)
    };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Returns the format without what C knows not: `%f` are microseconds, and a time of Python without a zone has no `%z`.
fn for_c(format: &str, microseconds: u32) -> String {
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, (c == '%').then(|| chars.next()).flatten()) {
            ('%', Some('f')) => text += &format!("{microseconds:06}"),
            ('%', Some('z' | 'Z')) => {}
            ('%', Some(next)) => text.extend(['%', next]),
            (c, _) => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_that_of_python() {
        assert_eq!(for_c("%H:%M:%S.%f%z %%f %", 12), "%H:%M:%S.000012 %%f %");
        let text = now("<%Y-%m-%d %%>");
        assert!(text.starts_with("<20") && text.ends_with(" %>") && text.len() == 14, "{text}");
        assert_eq!((now(""), now(&"x".repeat(1000))), (String::new(), String::new()));
    }
}
