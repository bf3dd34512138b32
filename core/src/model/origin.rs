use crate::words;

words! {
    /// Way by which a job came to be.
    pub enum Origin {
        /// A signed webhook.
        Hook = "hook",
        /// A request to the API.
        Api = "api",
        /// A request to build an earlier job once more.
        Rebuild = "rebuild",
        /// The sweep for branch heads that no webhook reported.
        Missed = "missed",
    }
}

words! {
    /// API of one of the programs that Image Factory replaces. Answers to a job's sender, and reports on the job, look as
    /// they did in the program by whose API the job came in.
    pub enum Dialect {
        Totem = "totem",
        Generator = "generator",
        ComposeCi = "compose-ci",
        Conveyor = "conveyor",
    }
}

impl Dialect {
    /// Returns true if jobs of this API are tested between their build and their push.
    pub fn has_tests(self) -> bool {
        self == Self::ComposeCi
    }
}
