//! Enums whose variants are words: settings, columns, wire texts and metrics have them by these names.

/// Declares such an enum. Each word stands once: `as_str`, `FromStr`, serde and `ALL` are made of it.
#[macro_export]
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            pub const ALL: [Self; [$($name::$variant),+].len()] = [$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::ALL.into_iter().find(|word| word.as_str() == text);
                found.ok_or_else(|| $crate::model::words::expected(&Self::ALL.map(Self::as_str)))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Returns the rule that a text breaks which is none of the words: "it must be a, b or c".
pub fn expected(words: &[&str]) -> String {
    match words {
        [one] => format!("it must be {one}"),
        [first @ .., last] => format!("it must be {} or {last}", first.join(", ")),
        [] => "it must be empty".into(),
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Supersede;

    #[test]
    fn a_word_is_read_written_and_listed() {
        assert_eq!(Supersede::ALL.map(Supersede::as_str), ["off", "pending", "running"]);
        assert_eq!("running".parse(), Ok(Supersede::Running));
        assert_eq!("Off".parse::<Supersede>(), Err("it must be off, pending or running".into()));
        assert_eq!(serde_json::to_string(&Supersede::Off).unwrap(), r#""off""#);
        assert_eq!(serde_json::from_str::<Supersede>(r#""pending""#).unwrap(), Supersede::Pending);
        assert!(serde_json::from_str::<Supersede>(r#""no""#).is_err());
    }
}
