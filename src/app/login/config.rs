use std::num::NonZeroU16;
use std::path::Path;

/// Returns the configuration of OpenSSH (sshd_config(5)). Nothing of /etc/ssh is read, and a login needs a key that
/// `ssh-keys` gets from [`super::run`]: once that has ended, nobody gets in.
pub fn sshd_config(port: NonZeroU16, user: &str, host_key: &Path, program: &Path, run_dir: &Path) -> String {
    let (host_key, program, run_dir) = (host_key.display(), program.display(), run_dir.display());
    format!(
        "Port {port}\n\
         HostKey \"{host_key}\"\n\
         PidFile none\n\
         AllowUsers {user}\n\
         PermitRootLogin no\n\
         AuthenticationMethods publickey\n\
         AuthorizedKeysFile none\n\
         AuthorizedKeysCommand {program} ssh-keys \"{run_dir}\" %f\n\
         AuthorizedKeysCommandUser root\n\
         ForceCommand '{program}' ssh-login '{run_dir}'\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         UsePAM no\n\
         DisableForwarding yes\n\
         PermitTunnel no\n\
         PermitUserEnvironment no\n\
         PermitUserRC no\n\
         PrintMotd no\n\
         PrintLastLog no\n\
         UseDNS no\n\
         LoginGraceTime 30\n\
         ClientAliveInterval 60\n\
         LogLevel VERBOSE\n"
    )
}
