use std::str::FromStr;

/// The state of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationState {
    /// The notification is to be sent.
    Due,
    Sent,
    /// A newer notification of the same lane made it needless.
    Replaced,
    /// The daemon does not try it again.
    Dead,
}

impl NotificationState {
    pub const ALL: [Self; 4] = [Self::Due, Self::Sent, Self::Replaced, Self::Dead];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Sent => "sent",
            Self::Replaced => "replaced",
            Self::Dead => "dead",
        }
    }
}

impl FromStr for NotificationState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no state of a notification"))
    }
}
