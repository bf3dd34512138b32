use super::git;
use crate::secrets::{EtcdConfig, Place, SecretsConfig, TlsFiles};
use crate::settings::Settings;

/// Returns the place of the secrets, and how they are read.
pub fn config(settings: &Settings) -> SecretsConfig {
    let endpoints = settings.etcd();
    SecretsConfig {
        place: match endpoints.is_empty() {
            true => Place::Folder(settings.secrets_dir()),
            false => Place::Etcd(EtcdConfig {
                endpoints,
                base: settings.etcd_totem_base.clone(),
                api: settings.etcd_api,
                login: settings.etcd_user.clone().zip(settings.etcd_password.clone()),
                tls: TlsFiles {
                    cacert: settings.etcd_cacert.clone(),
                    identity: settings.etcd_cert.clone().zip(settings.etcd_key.clone()),
                },
            }),
        },
        passphrase: settings.enc_passphrase.clone(),
        authorized_keys_file: settings.authorized_keys_file.clone(),
        repo_case: git::repo_case(settings),
    }
}
