use super::*;
use std::net::Ipv4Addr;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

async fn household() -> (store::Store, ConfigFiles, Accounts) {
    let store = store::Store::create(store::MemoryDevice::new(), store::Options::new()).unwrap();
    let files = ConfigFiles::of(&store).unwrap();
    let accounts = Accounts::open(&files).unwrap();
    accounts.create("anna", "anna@example.org", "Anna", "correct horse", true).await.unwrap();
    (store, files, accounts)
}

#[tokio::test]
async fn own_password_and_address_both_log_in_after_a_restart() {
    let (_store, files, _) = household().await;
    let accounts = Accounts::open(&files).unwrap();
    for name in ["anna", "ANNA", "Anna@Example.org"] {
        let login = accounts.login(name, "correct horse", HERE, "test").await.unwrap();
        assert_eq!((login.account.user.as_str(), login.credential), ("anna", None));
    }
    assert_eq!(accounts.login("anna", "wrong", HERE, "test").await.unwrap_err(), LoginError::Wrong);
    assert_eq!(accounts.login("ben", "correct horse", HERE, "test").await.unwrap_err(), LoginError::Wrong);
}

#[tokio::test]
async fn a_revoked_device_is_out_at_once() {
    let (_store, _, accounts) = household().await;
    let (device, password) = accounts.add_device("anna", "Anna's phone").await.unwrap();
    for _ in 0..2 {
        let login = accounts.login("anna", &password, HERE, "imap").await.unwrap();
        assert_eq!(login.device(), "Anna's phone");
    }
    assert_eq!(accounts.last_use("anna", Some(&device.id)).unwrap().with, "imap");
    accounts.revoke("anna", &device.id).await.unwrap();
    assert_eq!(accounts.login("anna", &password, HERE, "imap").await.unwrap_err(), LoginError::Wrong);
    assert!(accounts.login("anna", "correct horse", HERE, "imap").await.is_ok());
}

#[tokio::test]
async fn a_changed_password_ends_sessions_and_the_old_one() {
    let (_store, _, accounts) = household().await;
    let login = accounts.login("anna", "correct horse", HERE, "web").await.unwrap();
    let token = accounts.open_session(&login, "Firefox on Linux").await.unwrap();
    assert_eq!(accounts.session(&token, HERE, "web").unwrap().account.user, "anna");
    assert!(accounts.session("nonsense", HERE, "web").is_none());
    accounts.set_password("anna", "battery staple").await.unwrap();
    assert!(accounts.session(&token, HERE, "web").is_none());
    assert_eq!(accounts.login("anna", "correct horse", HERE, "web").await.unwrap_err(), LoginError::Wrong);
    assert!(accounts.login("anna", "battery staple", HERE, "web").await.is_ok());
}

#[tokio::test]
async fn scram_logs_in_with_a_device_password() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (_store, _, accounts) = household().await;
    let (device, password) = accounts.add_device("anna", "mutt").await.unwrap();
    let exchange = accounts.scram("n,,n=anna,r=abc", HERE, "imap").unwrap();
    let server_first = exchange.server_first().to_owned();
    let nonce = server_first.split(',').next().unwrap().to_owned();
    let salt = STANDARD.decode(server_first.split(',').nth(1).unwrap().strip_prefix("s=").unwrap()).unwrap();
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(limits::SCRAM_ROUNDS).unwrap();
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = sign(&salted, b"Client Key");
    let stored = ring::digest::digest(&ring::digest::SHA256, client_key.as_ref());
    let without_proof = format!("c=biws,{nonce}");
    let signature = sign(stored.as_ref(), format!("n=anna,r=abc,{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    let (login, answer) =
        exchange.finish(&format!("{without_proof},p={}", STANDARD.encode(proof))).await.unwrap();
    assert_eq!(login.credential, Some(device.id));
    assert!(answer.starts_with("v="));
}

#[tokio::test]
async fn rfc4013_a_password_typed_on_another_keyboard_is_the_same() {
    let (_store, _, accounts) = household().await;
    accounts.create("ben", "ben@example.org", "", "Tr\u{fc}be\u{a0}Tage", false).await.unwrap();
    assert!(accounts.login("ben", "Tr\u{fc}be Tage", HERE, "imap").await.is_ok());
    assert!(accounts.login("ben", "Tr\u{fc}\u{ad}be\u{3000}Tage", HERE, "imap").await.is_ok());
    assert!(accounts.login("ben", "Trube Tage", HERE, "imap").await.is_err());
}

#[tokio::test]
async fn names_and_passwords_have_rules() {
    let (_store, _, accounts) = household().await;
    let create = async |user: &str, password: &str| {
        accounts.create(user, &format!("{user}@example.org"), "", password, false).await.unwrap_err()
    };
    assert!(matches!(create("Anna Maria", "long enough").await, AccountError::BadName(..)));
    assert!(matches!(create("../etc", "long enough").await, AccountError::BadName(..)));
    assert!(matches!(create("ben", "short").await, AccountError::BadPassword));
    assert!(matches!(create("anna", "long enough").await, AccountError::Exists(_)));
}

#[tokio::test]
async fn copies_changed_apart_join_without_loss() {
    let (_store, _, accounts) = household().await;
    let (phone, _) = accounts.add_device("anna", "phone").await.unwrap();
    let elsewhere = Account::clone(&accounts.find("anna").unwrap());
    accounts.revoke("anna", &phone.id).await.unwrap();
    let (tablet, _) = accounts.add_device("anna", "tablet").await.unwrap();
    let mut there = elsewhere.clone();
    there.name = "A.".into();
    there.changed_ms += 1_000_000;
    there.credentials.push(Credential { id: "browser".into(), ..phone.clone() });
    let here = Account::clone(&accounts.find("anna").unwrap());
    assert_eq!(here.joined(&there), there.joined(&here));
    assert!(accounts.adopt(there.clone()).await.unwrap());
    assert!(!accounts.adopt(there).await.unwrap());
    assert!(!accounts.adopt(elsewhere).await.unwrap());
    let anna = accounts.find("anna").unwrap();
    let ids: Vec<&str> = anna.credentials.iter().map(|one| one.id.as_str()).collect();
    assert!(
        ids.contains(&"browser") && ids.contains(&tablet.id.as_str()) && !ids.contains(&phone.id.as_str())
    );
    assert_eq!(anna.name, "A.");
}
