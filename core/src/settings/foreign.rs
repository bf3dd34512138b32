//! Variables of Conveyor (remind101/conveyor, `cmd/conveyor/main.go`) that are no settings here, and in `compose_ci` those of
//! compose-ci. A value that asks for
//! what the daemon does not do is refused with what to use instead, because its operator would miss it later.

mod compose_ci;

use super::Spec;
use super::error::SettingError;
use super::sources::SettingTexts;
use super::value::SettingValue;

/// Returns a variable as the places of settings are searched for it.
const fn variable(name: &'static str, secret: bool) -> Spec {
    Spec { group: "", name, aliases: &[], default: "", example: "", secret, live: false, meaning: "" }
}

const QUEUE: Spec = variable("QUEUE", false);
const LOGGER: Spec = variable("LOGGER", false);
const BUILDER_IMAGE: Spec = variable("BUILDER_IMAGE", false);
/// The address has a key in it.
const REPORTER: Spec = variable("REPORTER", true);
const DATABASE_URL: Spec = variable("DATABASE_URL", true);

/// Adds the variables that ask for what the daemon does not do, and a warning for one that means nothing.
pub(super) fn check(texts: &mut SettingTexts, errors: &mut Vec<SettingError>) {
    texts.value::<QueueAddress>(&QUEUE, errors);
    texts.value::<LoggerAddress>(&LOGGER, errors);
    texts.value::<BuilderImageName>(&BUILDER_IMAGE, errors);
    texts.value::<ReporterAddress>(&REPORTER, errors);
    compose_ci::check(texts, errors);
    if let Ok(Some(found)) = texts.text(&DATABASE_URL) {
        let (name, place) = (found.name, found.place);
        texts.warnings.push(format!("{name} ({place}) is not used: jobs are in SQLite, in DATA_DIR"));
    }
}

fn scheme(text: &str) -> &str {
    text.split_once(':').map_or(text, |(scheme, _)| scheme)
}

/// The queue, which is the daemon's own, whatever its value.
struct QueueAddress;

impl SettingValue for QueueAddress {
    fn parse(text: &str) -> Result<Self, String> {
        match scheme(text) {
            "" | "memory" => Ok(Self),
            "sqs" => Err("the queue is in DATA_DIR and outlives a restart, so it needs no SQS: unset it".into()),
            _ => Err("it is no known queue: unset it, because the queue is in DATA_DIR".into()),
        }
    }
}

/// The place of the logs, which is the data folder, whatever its value.
struct LoggerAddress;

impl SettingValue for LoggerAddress {
    fn parse(text: &str) -> Result<Self, String> {
        match scheme(text) {
            "" | "stdout" | "memory" => Ok(Self),
            "cloudwatch" | "s3" => {
                Err("logs of builds are in DATA_DIR: unset it, read them at /logs/ID, and set LOG_KEEP".into())
            }
            _ => Err("it is no known logger: unset it, because logs of builds are in DATA_DIR".into()),
        }
    }
}

/// The image of a builder's container, which no build needs.
struct BuilderImageName;

impl SettingValue for BuilderImageName {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self),
            _ => Err("the engine at DOCKER_HOST builds by itself, without a builder's container: unset it".into()),
        }
    }
}

/// The service that hears of errors.
struct ReporterAddress;

impl SettingValue for ReporterAddress {
    fn parse(text: &str) -> Result<Self, String> {
        match scheme(text) {
            "" => Ok(Self),
            "hb" => Err("nothing is reported to Honeybadger: unset it, and set NOTIFY_OPERATORS".into()),
            _ => Err("it is no known reporter: unset it, and set NOTIFY_OPERATORS".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::SettingsSource;

    fn found(name: &str, value: &str) -> (Vec<String>, Vec<String>) {
        let environment = [(name.to_owned(), value.to_owned())];
        let none = Some("/dev/null".into());
        let loaded = SettingsSource::new(Default::default(), none.clone(), none, environment).load();
        let errors = loaded.settings().err().map_or(Vec::new(), |errors| errors.0);
        (errors.iter().map(ToString::to_string).collect(), loaded.warnings)
    }

    #[test]
    fn what_conveyor_had_elsewhere_is_refused_with_what_to_use() {
        for (name, value) in [
            ("QUEUE", "memory://"),
            ("LOGGER", "stdout://"),
            ("LOGGER", "memory://"),
            ("BUILDER_IMAGE", ""),
            ("REPORTER", ""),
        ] {
            assert_eq!(found(name, value), (vec![], vec![]), "{name}={value}");
        }
        let mut messages = Vec::new();
        for (name, value) in [
            ("QUEUE", "sqs://sqs.us-east-1.amazonaws.com/1234/builds"),
            ("QUEUE", "kafka://x"),
            ("LOGGER", "cloudwatch://group"),
            ("LOGGER", "s3://bucket"),
            ("LOGGER", "file"),
            ("BUILDER_IMAGE", "remind101/conveyor-builder:master"),
            ("REPORTER", "hb://api.honeybadger.io?key=1234"),
            ("REPORTER", "sentry://1234"),
        ] {
            let (errors, warnings) = found(name, value);
            assert!(errors.len() == 1 && warnings.is_empty(), "{errors:?}");
            messages.extend(errors);
        }
        let (errors, warnings) = found("DATABASE_URL", "postgres://u:s3cret@db/conveyor");
        assert_eq!(errors, [""; 0]);
        messages.extend(warnings);
        assert!(!messages.iter().any(|message| message.contains("key=") || message.contains("s3cret")));
        insta::assert_snapshot!(messages.join("\n"), @r#"
        QUEUE="sqs://sqs.us-east-1.amazonaws.com/1234/builds" (in the environment) is not valid: the queue is in DATA_DIR and outlives a restart, so it needs no SQS: unset it
        QUEUE="kafka://x" (in the environment) is not valid: it is no known queue: unset it, because the queue is in DATA_DIR
        LOGGER="cloudwatch://group" (in the environment) is not valid: logs of builds are in DATA_DIR: unset it, read them at /logs/ID, and set LOG_KEEP
        LOGGER="s3://bucket" (in the environment) is not valid: logs of builds are in DATA_DIR: unset it, read them at /logs/ID, and set LOG_KEEP
        LOGGER="file" (in the environment) is not valid: it is no known logger: unset it, because logs of builds are in DATA_DIR
        BUILDER_IMAGE="remind101/conveyor-builder:master" (in the environment) is not valid: the engine at DOCKER_HOST builds by itself, without a builder's container: unset it
        REPORTER=… (in the environment) is not valid: nothing is reported to Honeybadger: unset it, and set NOTIFY_OPERATORS
        REPORTER=… (in the environment) is not valid: it is no known reporter: unset it, and set NOTIFY_OPERATORS
        DATABASE_URL (in the environment) is not used: jobs are in SQLite, in DATA_DIR
        "#);
    }
}
