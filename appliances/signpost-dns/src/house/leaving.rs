//! A zone that ends its signing: asked of the parent by CDS 0, over when the parent's DS is gone and forgotten.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chassis::Options;

use super::*;
use crate::record::RecordType;
use crate::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 10 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.1\n";

/// A resolver that says of every name that it has this DS, as long as `has`.
fn resolver(ds: Vec<u8>) -> (std::net::SocketAddr, Arc<AtomicBool>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (at, has) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
    let says = has.clone();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((octets, from)) = socket.recv_from(&mut question) {
            let end = 12 + question[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
            let is_ds = question[end - 4..end - 2] == RecordType::DS.0.to_be_bytes();
            let answers = is_ds && says.load(Ordering::SeqCst);
            let mut reply = question[..octets.min(end)].to_vec();
            (reply[2], reply[3], reply[7], reply[11]) = (0x81, 0x80, u8::from(answers), 0);
            if answers {
                reply.extend_from_slice(&[0xC0, 12, 0, 43, 0, 1, 0, 0, 0, 60, 0, ds.len() as u8]);
                reply.extend_from_slice(&ds);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    (at, has)
}

#[tokio::test]
async fn rfc8078_4_signing_ends_when_the_parent_has_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::in_dir(dir.path());
    let chassis = Chassis::start(&crate::IDENTITY, options, Instant::now()).await.unwrap();
    let house = House::open(&chassis, Arc::new(Engine::new([7; 16], b"", None))).unwrap();
    let origin = Name::from_text("example.test.", None).unwrap();
    let zone = Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap();
    house.import(&origin, &zone, &Cause::new("test", "imported")).await.unwrap();
    house.sign(&origin, "test", Algorithm::EcdsaP256, false).await.unwrap();
    let keeper = house.keeper(&origin).unwrap();
    let has = |rtype: RecordType| keeper.served().apex().get(rtype).is_some();
    let signer = signer_of(&zone_settings(&house.settings(), &origin)).unwrap();
    let (resolver, parent_has) = resolver(signer.key_signing[0].all_ds(&origin)[0].clone());
    house.change_settings("test", "a resolver", |all| all.resolver = Some(resolver)).await.unwrap();
    let look = async || {
        unlocked(house.parents.lock()).clear();
        house.follow_parent(&keeper).await.unwrap();
        zone_settings(&house.settings(), &origin)
    };
    house.sign_off(&origin, "test").await.unwrap();
    let cds = keeper.served().apex().get(RecordType::CDS).unwrap().datas(&origin).next().unwrap();
    assert_eq!(cds, [0, 0, 0, 0, 0]);
    let now = look().await;
    assert!(now.signed && now.ds_gone_since == 0, "the parent has its DS");
    parent_has.store(false, Ordering::SeqCst);
    let now = look().await;
    assert!(now.signed && now.ds_gone_since != 0, "caches may hold it");
    parent_has.store(true, Ordering::SeqCst);
    assert_eq!(look().await.ds_gone_since, 0, "it came back");
    parent_has.store(false, Ordering::SeqCst);
    look().await;
    assert!(has(RecordType::DNSKEY) && has(RecordType::CDS));
    let forget = |all: &mut Settings| zone_settings_mut(all, &origin).timing.parent_s = 0;
    house.change_settings("test", "caches forgot", forget).await.unwrap();
    let now = look().await;
    assert!(!now.signed && now.keys.is_empty() && now.leaving == 0);
    assert!(!has(RecordType::DNSKEY) && !has(RecordType::CDS) && !has(RecordType::CDNSKEY));
    assert_eq!(keeper.served().denial, Denial::Unsigned);
}
