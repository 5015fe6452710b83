//! Keywords of ssh_config(5): which count here, and what becomes of the others.

/// A keyword that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Host,
    Match,
    Include,
    HostName,
    User,
    Port,
    IdentityFile,
    CertificateFile,
    IdentitiesOnly,
    HostKeyAlias,
    UserKnownHostsFile,
    GlobalKnownHostsFile,
    ConnectTimeout,
    ProxyJump,
    ProxyCommand,
    RevokedHostKeys,
}

/// What becomes of a keyword that does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Support {
    /// It changes neither which host is reached, nor as whom, nor whether it is trusted.
    Irrelevant,
    /// It would change how the host is reached.
    NotDone,
    /// It is not known.
    Unknown,
}

/// Keywords that would change how a host is reached, with the value that asks for nothing.
const NOT_DONE: &[(&str, &str)] = &[
    ("addressfamily", "any"),
    ("bindaddress", ""),
    ("bindinterface", ""),
    ("canonicalizehostname", "no"),
    ("identityagent", "SSH_AUTH_SOCK"),
    ("knownhostscommand", "none"),
    ("pkcs11provider", "none"),
    ("securitykeyprovider", "internal"),
    ("proxyusefdpass", "no"),
    ("pubkeyauthentication", "yes"),
    ("preferredauthentications", "publickey"),
];

/// Keywords without a meaning here. Algorithms are kubezt's own choice, and host keys are verified whatever
/// StrictHostKeyChecking says.
const IRRELEVANT: &[&str] = &[
    "addkeystoagent",
    "applemultipath",
    "batchmode",
    "canonicaldomains",
    "canonicalizefallbacklocal",
    "canonicalizemaxdots",
    "canonicalizepermittedcnames",
    "casignaturealgorithms",
    "challengeresponseauthentication",
    "channeltimeout",
    "checkhostip",
    "ciphers",
    "clearallforwardings",
    "compression",
    "connectionattempts",
    "controlmaster",
    "controlpath",
    "controlpersist",
    "dynamicforward",
    "enableescapecommandline",
    "enablesshkeysign",
    "escapechar",
    "exitonforwardfailure",
    "fingerprinthash",
    "forkafterauthentication",
    "forwardagent",
    "forwardx11",
    "forwardx11timeout",
    "forwardx11trusted",
    "gatewayports",
    "gssapiauthentication",
    "gssapiclientidentity",
    "gssapidelegatecredentials",
    "gssapikexalgorithms",
    "gssapikeyexchange",
    "gssapirenewalforcesrekey",
    "gssapiserveridentity",
    "gssapitrustdns",
    "hashknownhosts",
    "hostbasedacceptedalgorithms",
    "hostbasedauthentication",
    "hostbasedkeytypes",
    "hostkeyalgorithms",
    "ignoreunknown",
    "ipqos",
    "kbdinteractiveauthentication",
    "kbdinteractivedevices",
    "kexalgorithms",
    "localcommand",
    "localforward",
    "loglevel",
    "logverbose",
    "macs",
    "nohostauthenticationforlocalhost",
    "numberofpasswordprompts",
    "obscurekeystroketiming",
    "passwordauthentication",
    "permitlocalcommand",
    "permitremoteopen",
    "pubkeyacceptedalgorithms",
    "pubkeyacceptedkeytypes",
    "rekeylimit",
    "remotecommand",
    "remoteforward",
    "requesttty",
    "requiredrsasize",
    "sendenv",
    "serveralivecountmax",
    "serveraliveinterval",
    "sessiontype",
    "setenv",
    "stdinnull",
    "streamlocalbindmask",
    "streamlocalbindunlink",
    "stricthostkeychecking",
    "syslogfacility",
    "tag",
    "tcpkeepalive",
    "tunnel",
    "tunneldevice",
    "updatehostkeys",
    "usekeychain",
    "verifyhostkeydns",
    "visualhostkey",
    "xauthlocation",
];

/// What becomes of a keyword that is no [`Keyword`].
pub(super) fn support(keyword: &str, value: &str) -> Support {
    if let Some((_, harmless)) = NOT_DONE.iter().find(|(name, _)| *name == keyword) {
        return if value.eq_ignore_ascii_case(harmless) { Support::Irrelevant } else { Support::NotDone };
    }
    if IRRELEVANT.contains(&keyword) { Support::Irrelevant } else { Support::Unknown }
}

/// Reads a time: seconds, or numbers with `s`, `m`, `h`, `d`, `w`.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut number: Option<u64> = None;
    for character in text.chars() {
        if let Some(digit) = character.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let unit = match character.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    if text.is_empty() { None } else { total.checked_add(number.unwrap_or(0)) }
}

impl Keyword {
    /// The keyword of this name in lower case.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "host" => Self::Host,
            "match" => Self::Match,
            "include" => Self::Include,
            "hostname" => Self::HostName,
            "user" => Self::User,
            "port" => Self::Port,
            "identityfile" => Self::IdentityFile,
            "certificatefile" => Self::CertificateFile,
            "identitiesonly" => Self::IdentitiesOnly,
            "hostkeyalias" => Self::HostKeyAlias,
            "userknownhostsfile" => Self::UserKnownHostsFile,
            "globalknownhostsfile" => Self::GlobalKnownHostsFile,
            "connecttimeout" => Self::ConnectTimeout,
            "proxyjump" => Self::ProxyJump,
            "proxycommand" => Self::ProxyCommand,
            "revokedhostkeys" => Self::RevokedHostKeys,
            _ => return None,
        })
    }

    /// What is wrong with its arguments.
    pub(super) fn fault(self, arguments: &[String]) -> Option<String> {
        let Some(first) = arguments.first().filter(|first| !first.is_empty()) else {
            return Some("an argument is missing".to_owned());
        };
        let several = matches!(
            self,
            Self::Host
                | Self::Match
                | Self::Include
                | Self::UserKnownHostsFile
                | Self::GlobalKnownHostsFile
                | Self::ProxyCommand
        );
        if !several && arguments.len() > 1 {
            return Some(format!("`{}` is one argument too many", arguments[1]));
        }
        match self {
            Self::Port if !first.parse::<u16>().is_ok_and(|port| port != 0) => {
                Some(format!("`{first}` is no port: write a number from 1 to 65535"))
            }
            Self::IdentitiesOnly
                if !matches!(first.to_ascii_lowercase().as_str(), "yes" | "no" | "true" | "false") =>
            {
                Some(format!("`{first}` is neither yes nor no"))
            }
            Self::ConnectTimeout if !first.eq_ignore_ascii_case("none") && seconds(first).is_none() => {
                Some(format!("`{first}` is no time"))
            }
            Self::ProxyJump => super::parse_jumps(first).err(),
            Self::Match => match_fault(arguments),
            _ => None,
        }
    }
}

fn match_fault(arguments: &[String]) -> Option<String> {
    let mut criteria = arguments.iter();
    while let Some(word) = criteria.next() {
        let name = word.trim_start_matches('!').to_ascii_lowercase();
        if !matches!(name.as_str(), "all" | "canonical" | "final") && criteria.next().is_none() {
            return Some(format!("`Match {name}` wants an argument"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, expected) in
            [("5", Some(5)), ("1m30s", Some(90)), ("2h", Some(7200)), ("x", None), ("", None)]
        {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
