use super::*;
use crate::logs::forms::{binary_forms, forms};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use proptest::prelude::*;

fn redactor(secrets: &[&str]) -> Redactor {
    let mut redactor = Redactor::default();
    redactor.add(secrets.iter().flat_map(|secret| forms(secret)));
    redactor
}

fn redact<'a>(secrets: &[&str], chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut redactor = redactor(secrets);
    let mut out = Vec::new();
    chunks.into_iter().for_each(|chunk| redactor.push(chunk, &mut out));
    redactor.flush(&mut out);
    String::from_utf8(out).unwrap()
}

/// Redacts a text as a whole and byte by byte, and compares the results.
fn masked(secrets: &[&str], text: &str) -> String {
    let whole = redact(secrets, [text.as_bytes()]);
    assert_eq!(whole, redact(secrets, text.as_bytes().chunks(1)), "{text}");
    whole
}

#[test]
fn secrets_are_masked_across_chunks_and_overlaps() {
    for (secrets, text, expected) in [
        (&["hunter2"][..], "user:hunter2@host", "user:***@host"),
        (&["hunter2"], "hunter hunte", "hunter hunte"),
        (&["abcdef", "defghi"], "<abcdefghi>", "<***>"),
        (&["abcdef", "bcdefg", "efghij"], "<abcdefghij>", "<***>"),
        (&["abcabc"], "abcabcabcab", "***ab"),
        (&["abcdef"], "abcdefabcdef", "***"),
        (&["abcdefgh", "cdefgh", "defghxyz"], "abcdefghxyz", "***"),
        (&["short"], "short", "short"),
        (&[], "plain", "plain"),
    ] {
        assert_eq!(masked(secrets, text), expected, "{secrets:?}");
    }
    let key = "-----BEGIN KEY-----\nMIIabcdefgh\n  0123456789\nend\n-----END KEY-----\n";
    let printed = "-----BEGIN KEY-----\n\tMIIabcdefgh\n\t0123456789\n";
    assert_eq!(masked(&[key], printed), "-----BEGIN KEY-----\n\t***\n\t***\n");
}

#[test]
fn secrets_are_masked_across_lines() {
    for (text, expected) in [
        ("x hunt\ner2 y\n", "x ***\n*** y\n"),
        ("x hunt\r\ner2 y\n", "x ***\r\n*** y\n"),
        ("- hunt\n  er2\n", "- ***\n***\n"),
        ("#5 hunt\n#5 er2\n#6 x\n", "#5 ***\n***\n#6 x\n"),
        ("#5 hu\n#5   nt\n#5   er\n#5   2\n", "#5 ***\n***\n***\n***\n"),
        ("h\nunter2\n", "***\n***\n"),
        ("hunt\n\n\ner2\n", "***\n\n\n***\n"),
        ("hunt\n#12 er2", "***\n***"),
        ("hunt\n#er2\n#", "hunt\n#er2\n#"),
        ("hunt\nhunter2\n", "hunt\n***\n"),
        ("hunt er2", "hunt er2"),
        ("hunt\n    x\n  er2", "hunt\n    x\n  er2"),
    ] {
        assert_eq!(masked(&["hunter2"], text), expected, "{text:?}");
    }
    // A line break may stand beside a space that belongs to the secret.
    for text in ["correct\n horse", "correct \nhorse", "correct horse", "cor\n  rect horse"] {
        assert!(masked(&["correct horse"], text).chars().all(|c| "*\n".contains(c)), "{text:?}");
    }
    // A comment that begins with the secret is not taken for the number of a step.
    assert_eq!(masked(&["123456abc"], "x1\n#123456abc\n"), "x1\n#***\n");
    let far = format!("hunt{}er2", "\n".repeat(GAP + 1));
    assert_eq!(masked(&["hunter2"], &far), far);
}

/// The lines have every width that `fold` may make, with and without BuildKit's numbers.
#[test]
fn a_key_is_masked_at_any_line_width() {
    let lines: Vec<String> = (0..5).map(|n| format!("{n:02}").repeat(32)).collect();
    let key = format!("-----BEGIN KEY-----\n{}\n-----END KEY-----\n", lines.join("\n"));
    let whole = lines.concat();
    for width in [3, 4, 5, 7, 16, 40, 63, 64, 65, 76, 79] {
        for prefix in ["", "#17 ", "    "] {
            let folded: Vec<&str> = whole.as_bytes().chunks(width).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let text: String = folded.iter().map(|line| format!("{prefix}{line}\n")).collect();
            let left = redact(&[&key], [text.as_bytes()]);
            let left = left.replace(prefix, "");
            assert!(left.chars().all(|c| "*\n".contains(c)), "{width} {left}");
        }
    }
}

#[test]
fn base64_is_masked_at_each_alignment() {
    let secret = "c4n\u{e4}ry?>~token";
    for before in ["", "x", "xx", "user:", "x-access-token:"] {
        for after in ["", "\n", "?!", "and more"] {
            let text = format!("{before}{secret}{after}");
            for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE.encode(&text)] {
                let out = masked(&[secret], &encoded);
                // The characters that also depend on the neighbours remain.
                let left: usize = out.split("***").map(|part| part.trim_end_matches('=').len()).sum();
                assert!(out.contains("***"), "{encoded}");
                assert!(left <= (before.len() + after.len()) * 4 / 3 + 4, "{out} of {encoded}");
            }
        }
    }
    // As `base64` breaks it, at 76 columns, wherever in a file the secret is.
    for before in 0..130 {
        let encoded = BASE64_STANDARD.encode(format!("{}{secret}{}", "x".repeat(before), "y".repeat(40)));
        let lines: Vec<&str> = encoded.as_bytes().chunks(76).map(|c| std::str::from_utf8(c).unwrap()).collect();
        let out = masked(&[secret], &lines.join("\n"));
        let core = &BASE64_STANDARD.encode(secret)[3..12];
        assert!(out.contains("***") && !out.contains(core), "{before}: {out}");
        let shown = lines.concat().len() - out.replace(['\n', '*'], "").len();
        assert!(shown >= secret.len() * 4 / 3 - 6, "{before}: {out}");
    }
}

#[test]
fn urls_and_json_are_masked() {
    let secret = "p\u{e4}ss w/rd+\"?&x";
    for form in [
        "p%C3%A4ss%20w%2Frd%2B%22%3F%26x",
        "p%c3%a4ss%20w%2frd%2b%22%3f%26x",
        "p%C3%A4ss+w%2Frd%2B%22%3F%26x",
        "p\u{e4}ss w/rd+\\\"?&x",
        // The `url` crate encodes a password before the `@` like this.
        "p%C3%A4ss%20w%2Frd+%22%3F&x",
    ] {
        assert_eq!(masked(&[secret], &format!("https://u:{form}@host/")), "https://u:***@host/", "{form}");
    }
}

#[test]
fn the_numbers_of_a_key_are_masked_in_every_format() {
    let number: Vec<u8> = (0..64u8).map(|n| n.wrapping_mul(37)).collect();
    for before in 0..50usize {
        let der = [vec![2; before], number.clone(), vec![3; 20]].concat();
        let pem: Vec<String> =
            BASE64_STANDARD.encode(der).as_bytes().chunks(64).map(|c| String::from_utf8_lossy(c).into()).collect();
        let mut redactor = Redactor::default();
        redactor.add(binary_forms(&number));
        let mut out = Vec::new();
        redactor.push(pem.join("\n").as_bytes(), &mut out);
        redactor.flush(&mut out);
        let left = out.iter().filter(|b| !b"*\n".contains(b)).count();
        assert!(left <= (before + 20) * 4 / 3 + 6, "{before}: {}", String::from_utf8_lossy(&out));
    }
}

#[test]
fn bytes_are_shown_after_a_tick_whatever_they_are() {
    let mut redactor = redactor(&["hunter2"]);
    let mut step = |bytes: &str| {
        let mut out = Vec::new();
        redactor.push(bytes.as_bytes(), &mut out);
        assert!(out.is_empty());
        redactor.tick(&mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!([step("password: hun"), step("dred"), step("")], ["", "password: hun", "dred"]);
    // The whole secret has come before its first part is due, and gives one mask.
    assert_eq!([step("a hun"), step("ter2 b"), step(""), step("")], ["", "a ***", " b", ""]);
    // The number of a step comes in two parts, the second one in time.
    assert_eq!([step("a hunt\n#1"), step("2 er2"), step("")], ["", "a ***\n***", ""]);
    // A part was shown before the rest came, which is masked.
    assert_eq!([step("hunt"), step(""), step("er2!"), step("")], ["", "hunt", "", "***!"]);
    // A secret that is new masks what is held.
    step("a new on");
    let mut out = Vec::new();
    redactor.add(forms("new one"));
    redactor.push(b"e", &mut out);
    redactor.flush(&mut out);
    assert_eq!(out, b"a ***");
}

#[test]
fn the_held_bytes_are_bounded_and_their_secrets_masked() {
    let secret = "ab".repeat(500) + "c";
    let text = ("ab".repeat(2000) + &"\n".repeat(2000) + &"a\n#7  b\n".repeat(2000) + "-" + &secret + "+").repeat(200);
    let (mut redactor, mut out) = (redactor(&[&secret]), Vec::new());
    for chunk in text.as_bytes().chunks(10_000) {
        redactor.push(chunk, &mut out);
        assert!(redactor.held.len() <= FULL + FULL / 4 && redactor.path.len() <= secret.len());
    }
    redactor.flush(&mut out);
    assert!(String::from_utf8(out).unwrap() == text.replace(&secret, "***"));
}

/// Ordinary text, here the source of this program, has nothing that the secrets of a daemon mask.
#[test]
fn ordinary_text_is_not_masked() {
    let token = |n: u64| {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        format!("{:016x}{:016x}", next(), next())
    };
    let mut secrets: Vec<String> = (1..20).map(token).collect();
    secrets.push(format!(
        "-----BEGIN KEY-----\n{}\n-----END KEY-----",
        (20..60).map(token).collect::<Vec<_>>().join("\n")
    ));
    secrets.extend(["x7Kq!z".into(), "correct horse battery".into()]);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let (mut files, mut folders) = (0, vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/git")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            if !entry.path().ends_with("redact/tests.rs") && entry.path().extension().is_some_and(|e| e == "rs") {
                files += 1;
                assert!(redact(&secrets, [text.as_bytes()]) == text, "{:?}", entry.path());
            }
        }
    }
    assert!(files > 20);
}

/// The bytes that are shown after each step: the text comes in pieces, with this many ticks after each.
fn moments(secrets: &[&str], pieces: &[(&[u8], usize)]) -> Vec<usize> {
    let (mut redactor, mut out, mut moments) = (redactor(secrets), Vec::new(), Vec::new());
    for (piece, ticks) in pieces {
        redactor.push(piece, &mut out);
        moments.push(out.len());
        for _ in 0..*ticks {
            redactor.tick(&mut out);
            moments.push(out.len());
        }
    }
    redactor.flush(&mut out);
    moments.push(out.len());
    moments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A reader learns nothing from a guess of a part: not by how much is shown, and not by when.
    #[test]
    fn a_true_and_a_false_guess_of_a_part_are_shown_alike(
        token in "[a-z]{6,9}",
        lines in prop::collection::vec("[a-z]{6,9}", 2..4),
        around in prop::collection::vec("[ .\n#1]{0,6}", 2),
        cut in 0.0..1.0f64,
        ticks in prop::collection::vec(0usize..4, 4),
    ) {
        let key = lines.join("\n");
        let secrets = [token.as_str(), &key];
        let all: Vec<_> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        for form in &all {
            for end in 1..form.len() {
                let guess = &form[..end];
                // The text around it may complete it, or another form.
                let whole = [around[0].as_bytes(), guess, around[1].as_bytes()];
                if redact(&secrets, whole).as_bytes() != whole.concat() {
                    continue;
                }
                let mut wrong = guess.to_vec();
                wrong[end - 1] = b'!';
                let cut = (cut * end as f64) as usize;
                let [right, wrong] = [guess, &wrong].map(|guess| moments(&secrets, &[
                    (around[0].as_bytes(), ticks[0]),
                    (&guess[..cut], ticks[1]),
                    (&guess[cut..], ticks[2]),
                    (around[1].as_bytes(), ticks[3]),
                ]));
                prop_assert_eq!(right, wrong, "{}", String::from_utf8_lossy(guess));
            }
        }
    }
}

proptest! {
    #[test]
    fn cuts_do_not_matter_and_no_secret_passes(
        secrets in prop::collection::vec("[ab]{6,9}", 1..4),
        text in "[abc\\n #1]{0,80}",
        cuts in prop::collection::vec(1usize..9, 80),
    ) {
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let mut rest = text.as_bytes();
        let chunks = cuts.iter().map_while(|&n| {
            let (chunk, tail) = rest.split_at_checked(n).unwrap_or((rest, &[]));
            rest = tail;
            (!chunk.is_empty()).then_some(chunk)
        });
        let cut: Vec<&[u8]> = chunks.collect();
        let out = redact(&secrets, cut);
        prop_assert_eq!(&out, &redact(&secrets, [text.as_bytes()]));
        prop_assert!(secrets.iter().all(|s| !out.contains(s)), "{}", out);
        prop_assert_eq!(out.matches('\n').count(), text.matches('\n').count());
    }
}
