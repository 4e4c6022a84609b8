use super::*;

const GOOD: &str = r#"domain = "example.org"

[[account]]
user = "anna"
admin = true

[network.home]
bridge = "xenbr0"
prefix = "192.168.1.0/24"
gateway = "192.168.1.1"

[service.mail]
memory = "32 MB"
disk = "4 GB"
network = "home"
address = "192.168.1.11"

[service.signpost]
network = "home"
address = "192.168.1.14"
ports = { dns = 53 }
"#;

/// The faults of the good text with one part of it replaced.
fn faults(from: &str, to: &str) -> Vec<(usize, String)> {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    match Manifest::read(&text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| (fault.line, fault.what)).collect(),
    }
}

#[test]
fn the_good_one_is_good() {
    let manifest = Manifest::read(GOOD).unwrap();
    assert_eq!(manifest.size("mail"), Some((Bytes::mb(32), Bytes::mb(4096))));
    assert_eq!(manifest.size("signpost"), Some((Bytes::mb(8), Bytes::mb(64))));
    assert_eq!(manifest.size("contacts"), None);
}

#[test]
fn every_wrong_line_is_named() {
    let cases = [
        ("domain = \"example.org\"", "domain = \"example\"", 1, "not a domain name"),
        ("domain = \"example.org\"", "domain = \"192.168.1.1\"", 1, "not a domain name"),
        ("domain = \"example.org\"", "", 1, "domain is missing: add domain = "),
        ("domain = \"example.org\"", "domain = \"example.org\"\ndomain = \"b.org\"", 2, "a second time"),
        ("[[account]]\nuser = \"anna\"\nadmin = true", "", 1, "nobody could log in"),
        ("[[account]]", "[account]", 3, "[[account]] for each account"),
        ("[[account]]", "[[acount]]", 3, "did you mean account?"),
        ("user = \"anna\"", "", 3, "user is missing"),
        ("admin = true", "admin = \"yes\"", 5, "admin = true or false"),
        ("[network.home]", "[network]", 8, "lacks a name"),
        ("[service.mail]", "[[service.mail]]", 12, "[service.NAME]"),
        ("[service.mail]", "[services.mail]", 12, "did you mean service?"),
        ("[service.signpost]", "[service.mail]", 18, "a second time"),
        ("bridge = \"xenbr0\"", "", 7, "bridge is missing"),
        ("192.168.1.0/24", "192.168.1.5/24", 9, "the network is 192.168.1.0/24"),
        ("gateway = \"192.168.1.1\"", "gateway = \"192.168.1.255\"", 10, "not a gateway's"),
        ("gateway = \"192.168.1.1\"", "gateway = \"gate\"", 10, "write gateway = "),
        ("gateway = \"192.168.1.1\"", "nameserver = \"fd00::1\"", 10, "cannot reach fd00::1"),
        ("memory = \"32 MB\"", "memory = 32", 13, "write memory = \"32 MB\""),
        ("memory = \"32 MB\"", "memory = \"-32 MB\"", 13, "a whole number"),
        ("memory = \"32 MB\"", "memory = \"32.5 MB\"", 13, "a whole number"),
        ("memory = \"32 MB\"", "memroy = \"32 MB\"", 13, "did you mean memory?"),
        ("address = \"192.168.1.11\"", "address = \"fd00::1\"", 16, "fd00::1 is not in home"),
        (
            "address = \"192.168.1.14\"\nports = { dns = 53 }",
            "address = \"192.168.1.11\"\nports = { web = 8443 }",
            20,
            "192.168.1.11 is mail's address already",
        ),
        ("domain = \"example.org\"", "domain = 7", 1, "write domain = \"example.org\""),
        ("user = \"anna\"", "user = \"Anna B\"", 4, "login name"),
        ("admin = true", "amdin = true", 5, "there is no amdin here: did you mean admin?"),
        ("bridge = \"xenbr0\"", "brigde = \"xenbr0\"", 8, "there is no brigde here: did you mean bridge?"),
        ("bridge = \"xenbr0\"", "bridge = \"xenbr0'] #\"", 8, "no bridge's name"),
        ("bridge = \"xenbr0\"", "bridge = \"a-bridge-with-a-name\"", 8, "no bridge's name"),
        ("bridge = \"xenbr0\"", "bridge = \"\"", 8, "no bridge's name"),
        ("192.168.1.0/24", "192.168.1.0", 9, "no prefix"),
        ("192.168.1.0/24", "192.168.1.0/33", 9, "no prefix"),
        ("gateway = \"192.168.1.1\"", "gateway = \"10.0.0.1\"", 10, "the gateway 10.0.0.1 is not in"),
        ("[service.mail]", "[service.male]", 12, "there is no service \"male\": did you mean mail?"),
        ("memory = \"32 MB\"", "memory = \"8 MB\"", 13, "at least 32 MB of memory"),
        ("disk = \"4 GB\"", "disk = \"1 MB\"", 14, "a disk of at least 64 MB"),
        ("disk = \"4 GB\"", "disk = \"4 elephants\"", 14, "no unit"),
        ("disk = \"4 GB\"", "disk = \"99999999999 TB\"", 14, "larger than any disk"),
        (
            "network = \"home\"\naddress = \"192.168.1.11\"",
            "address = \"192.168.1.11\"",
            12,
            "mail is on no network",
        ),
        (
            "network = \"home\"",
            "network = \"hone\"",
            15,
            "there is no network \"hone\": did you mean home?; there is home",
        ),
        ("address = \"192.168.1.11\"", "address = \"192.168.2.11\"", 16, "192.168.2.11 is not in home"),
        ("address = \"192.168.1.11\"", "address = \"192.168.1\"", 16, "write address = \"192.168.1.11\""),
        ("address = \"192.168.1.11\"", "address = \"192.168.1.0\"", 16, "not a machine's"),
        ("address = \"192.168.1.11\"", "address = \"192.168.1.255\"", 16, "not a machine's"),
        ("address = \"192.168.1.11\"", "address = \"192.168.1.1\"", 16, "is the gateway"),
        (
            "address = \"192.168.1.14\"",
            "address = \"192.168.1.11\"",
            20,
            "port 443 of 192.168.1.11 is taken twice",
        ),
        ("dns = 53", "dns = 443", 21, "port 443 of 192.168.1.14 is taken twice"),
        ("dns = 53", "dns = \"53\"", 21, "a port is a number"),
        ("dns = 53", "dns = 0", 21, "a port is a number"),
        ("{ dns = 53 }", "53", 21, "write ports = {"),
        ("dns = 53", "dsn = 53", 21, "signpost has no service \"dsn\": did you mean dns?"),
        ("dns = 53", "dns = 70000", 21, "a port is a number from 1 to 65535"),
        ("ports = {", "ports = ", 21, ""),
        (
            "[service.signpost]",
            "[service.mail.settings]\nqueue_dais = 3\n\n[service.signpost]",
            19,
            "unknown field `queue_dais`",
        ),
        (
            "[service.signpost]",
            "[service.mail.settings]\nqueue_days = \"x\"\n\n[service.signpost]",
            19,
            "invalid type",
        ),
        (
            "[service.signpost]",
            "[service.mail.settings.smart_host]\nhots = \"x\"\n\n[service.signpost]",
            18,
            "unknown field `hots`",
        ),
    ];
    for (from, to, line, words) in cases {
        let found = faults(from, to);
        let named = found.iter().any(|(at, what)| *at == line && what.contains(words));
        assert!(named, "{to}: wanted line {line} with {words:?}, got {found:?}");
    }
}

#[test]
fn settings_are_taken_as_the_appliance_reads_them() {
    let text =
        GOOD.replace("[service.signpost]", "[service.mail.settings]\nqueue_days = 3\n\n[service.signpost]");
    let manifest = Manifest::read(&text).unwrap();
    let settings = manifest.services["mail"].get_ref().settings.as_ref().unwrap();
    assert_eq!(settings.get_ref()["queue_days"].as_integer(), Some(3));
}

#[test]
fn all_faults_come_at_once_and_in_order() {
    let text = GOOD.replace("32 MB", "1 MB").replace("4 GB", "1 MB").replace("anna", "A");
    let lines: Vec<usize> = Manifest::read(&text).unwrap_err().iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [4, 13, 14]);
}

#[test]
fn sizes_read_as_they_are_written() {
    for (text, bytes) in [("32 MB", 32 << 20), ("4GB", 4 << 30), ("100", 100), ("1 kib", 1024)] {
        assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)));
    }
    assert_eq!(Bytes(4 << 30).to_string(), "4 GB");
    assert_eq!(Bytes(1500).to_string(), "1500 bytes");
}
