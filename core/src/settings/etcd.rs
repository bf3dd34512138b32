use super::Settings;
use super::error::SettingError;
use super::etcd_address::is_https;
use crate::model::EtcdApi;

impl Settings {
    /// Returns the addresses of etcd; none when the secrets come from a folder.
    pub fn etcd(&self) -> Vec<String> {
        let scheme = if self.etcd_tls().next().is_some() { "https" } else { "http" };
        match &self.etcd_host {
            Some(host) => vec![format!("{scheme}://{host}:{}", self.etcd_port)],
            None => self.etcd_endpoints.0.clone(),
        }
    }

    /// Returns the names of the TLS settings that are set.
    fn etcd_tls(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("ETCD_CACERT", self.etcd_cacert.is_some()),
            ("ETCD_CERT", self.etcd_cert.is_some()),
            ("ETCD_KEY", self.etcd_key.is_some()),
        ];
        all.into_iter().filter_map(|(name, is_set)| is_set.then_some(name))
    }

    pub(super) fn check_etcd(&self, errors: &mut Vec<SettingError>) {
        let mut wrong = |names: &[&'static str], text: String| {
            errors.push(SettingError::new(names.iter().copied(), text));
        };
        if self.etcd_host.is_some() && !self.etcd_endpoints.0.is_empty() {
            wrong(
                &["ETCD_HOST", "ETCD_ENDPOINTS"],
                "ETCD_HOST and ETCD_ENDPOINTS are both set: keep one of them".into(),
            );
        }
        for ((one, has_one), (other, has_other)) in [
            (("ETCD_CERT", self.etcd_cert.is_some()), ("ETCD_KEY", self.etcd_key.is_some())),
            (("ETCD_USER", self.etcd_user.is_some()), ("ETCD_PASSWORD", self.etcd_password.is_some())),
        ] {
            let (set, missing) = if has_one { (one, other) } else { (other, one) };
            if has_one != has_other {
                wrong(&[one, other], format!("{set} is set and {missing} is not: set both, or neither"));
            }
        }
        let more = [
            ("ETCD_USER", self.etcd_user.is_some()),
            ("ETCD_PASSWORD", self.etcd_password.is_some()),
            ("ETCD_API", self.etcd_api != EtcdApi::Auto),
        ];
        let more = more.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        if let Some(name) = self.etcd_tls().chain(more).next().filter(|_| self.etcd().is_empty()) {
            wrong(
                &[name],
                format!("{name} has no effect without ETCD_HOST or ETCD_ENDPOINTS: set one of these, or remove it"),
            );
        }
        if let Some(name) = self.etcd_tls().next().filter(|_| self.etcd().iter().any(|e| !is_https(e))) {
            wrong(
                &[name, "ETCD_ENDPOINTS"],
                format!("{name} is for TLS, and ETCD_ENDPOINTS says http://: write https://, or leave {name} out"),
            );
        }
    }
}
