//! hickory-server's Catalog over a zone of ours (decision 0600): a `ZoneHandler` of our own, asked the same questions as
//! our own path. Where the two differ is listed; a new version of hickory that mends one of them fails this test.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{
    LowerName, Name as WireName, RData, Record, RecordType as WireType, TSigResponseContext,
};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable, BinEncoder};
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, RequestInfo, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{
    AuthLookup, AxfrPolicy, Catalog, LookupControlFlow, LookupError, LookupOptions, LookupRecords,
    MessageResponse, ZoneHandler, ZoneType,
};
use signpost_dns::engine::{Asker, Engine, Served, Verdict, Views};
use signpost_dns::message::push_record;
use signpost_dns::name::Name;
use signpost_dns::record::RecordType;
use signpost_dns::rrl::Limiter;
use signpost_dns::zone::{Found, Node, Zone};
use signpost_dns::zonefile;

const TEXT: &str = "$TTL 300\n@ SOA ns1 h 1 2 3 4 60\n@ NS ns1\n@ MX 10 mail\nns1 A 192.0.2.1\na.b.c A 192.0.2.2\n\
    mail A 192.0.2.25\nmail AAAA 2001:db8::1\n*.w A 192.0.2.3\nsub NS ns.sub\nns.sub A 192.0.2.4\n\
    www CNAME mail\nout CNAME example.org.\nbad CNAME gone\nd DNAME t\nx.t A 192.0.2.9\n";

/// A compiled zone behind hickory's trait; what each RRset is to hickory was made before the first question.
struct Handler {
    origin: LowerName,
    zone: Arc<Zone>,
    made: HashMap<(Box<[u8]>, u16), Vec<Record>>,
}

impl Handler {
    fn new(zone: Arc<Zone>) -> Handler {
        let origin = WireName::from_ascii(zone.origin.to_string()).unwrap().into();
        let mut made = HashMap::new();
        for node in zone.nodes() {
            for set in &node.rrsets {
                let mut octets = vec![0, 0, 0x84, 0, 0, 0, 0, set.count as u8, 0, 0, 0, 0];
                set.plain_records(&node.name, &zone.origin)
                    .iter()
                    .for_each(|one| push_record(&mut octets, one));
                made.insert((node.key.clone(), set.rtype.0), Message::from_vec(&octets).unwrap().answers);
            }
        }
        Handler { origin, zone, made }
    }

    fn of(&self, node: &Node, rtype: u16, owner: &WireName) -> Option<Vec<Record>> {
        let records = self.made.get(&(node.key.clone(), rtype))?.iter().cloned();
        Some(
            records
                .map(|mut one| {
                    one.name = owner.clone();
                    one
                })
                .collect(),
        )
    }

    /// The addresses of name servers, where the zone has them.
    fn glue(&self, servers: &[Record]) -> Vec<Record> {
        let targets = servers.iter().filter_map(|one| match &one.data {
            RData::NS(target) => Some(target.0.to_lowercase()),
            _ => None,
        });
        let targets: Vec<WireName> = targets.collect();
        let addresses = self.made.iter().filter(|((_, rtype), _)| matches!(rtype, 1 | 28));
        addresses.flat_map(|(_, set)| set).filter(|one| targets.contains(&one.name)).cloned().collect()
    }

    /// What follows a DNAME: the alias that it makes of a name below its own (RFC 6672 section 2.2), and where that leads.
    fn renamed(&self, dname: &Record, owner: &WireName, top: &WireName, rtype: WireType) -> Vec<Record> {
        let mut wire = Vec::new();
        dname.data.emit(&mut BinEncoder::new(&mut wire)).unwrap();
        let target = WireName::from_bytes(&wire).unwrap();
        let below = usize::from(owner.num_labels() - top.num_labels());
        let labels = owner.iter().take(below).chain(target.iter());
        let Ok(target) = WireName::from_labels(labels) else { return Vec::new() };
        let target = {
            let mut target = target;
            target.set_fqdn(true);
            target
        };
        let mut all = vec![Record::from_rdata(owner.clone(), dname.ttl, RData::CNAME(CNAME(target.clone())))];
        if self.origin.zone_of(&(&target).into())
            && let Ok(AuthLookup::Records { answers: LookupRecords::Section(rest), .. }) =
                self.find(&target, rtype)
        {
            all.extend(rest);
        }
        all
    }

    /// What the trait can say of a question: records, or that there are none.
    fn find(&self, owner: &WireName, rtype: WireType) -> Result<AuthLookup, LookupError> {
        let records = |all: Vec<Record>| Ok(AuthLookup::answers(LookupRecords::Section(all), None));
        let lower = owner.to_lowercase();
        let mut wire = Vec::new();
        lower.iter().for_each(|label| {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
        });
        wire.push(0);
        let number = u16::from(rtype);
        match self.zone.lookup(&wire, RecordType(number)) {
            Found::Exact(node) | Found::Wildcard(node, _) => match self.of(node, number, owner) {
                Some(all) => records(all),
                None => match self.of(node, 5, owner) {
                    Some(mut chain) => {
                        let target = match &chain[0].data {
                            RData::CNAME(target) => Some(target.0.clone()),
                            _ => None,
                        };
                        if let Some(Ok(AuthLookup::Records {
                            answers: LookupRecords::Section(rest), ..
                        })) = target
                            .filter(|one| self.origin.zone_of(&one.into()))
                            .map(|one| self.find(&one, rtype))
                        {
                            chain.extend(rest);
                        }
                        records(chain)
                    }
                    None => Err(LookupError::for_name_exists()),
                },
            },
            Found::Cut(node) => {
                let cut = WireName::from_ascii(node.name.to_string()).unwrap();
                let servers = self.of(node, 2, &cut).unwrap_or_default();
                let glue = LookupRecords::Section(self.glue(&servers));
                Ok(AuthLookup::answers(LookupRecords::Section(servers), Some(glue)))
            }
            Found::Dname(node) => {
                let top = WireName::from_ascii(node.name.to_string()).unwrap();
                let mut all = self.of(node, 39, &top).unwrap_or_default();
                all.extend(self.renamed(&all[0], owner, &top, rtype));
                records(all)
            }
            Found::Nothing(_) => Err(LookupError::from(ResponseCode::NXDomain)),
        }
    }
}

#[async_trait]
impl ZoneHandler for Handler {
    fn zone_type(&self) -> ZoneType {
        ZoneType::Primary
    }
    fn axfr_policy(&self) -> AxfrPolicy {
        AxfrPolicy::Deny
    }
    fn origin(&self) -> &LowerName {
        &self.origin
    }
    async fn lookup(
        &self,
        name: &LowerName,
        rtype: WireType,
        _: Option<&RequestInfo<'_>>,
        _: LookupOptions,
    ) -> LookupControlFlow<AuthLookup> {
        // Only the Catalog itself asks here: for the SOA of a negative answer (RFC 2308 section 3), and for NS.
        let mut found = self.find(name, rtype);
        if let (WireType::SOA, Ok(AuthLookup::Records { answers: LookupRecords::Section(all), .. })) =
            (rtype, &mut found)
        {
            all.iter_mut().for_each(|one| one.ttl = self.zone.negative_soa().ttl);
        }
        LookupControlFlow::Continue(found)
    }
    async fn search(
        &self,
        request: &Request,
        _: LookupOptions,
    ) -> (LookupControlFlow<AuthLookup>, Option<TSigResponseContext>) {
        let found = match request.request_info() {
            Ok(info) => self.find(info.query.original().name(), info.query.query_type()),
            Err(error) => Err(error),
        };
        (LookupControlFlow::Continue(found), None)
    }
    async fn nsec_records(&self, _: &LowerName, _: LookupOptions) -> LookupControlFlow<AuthLookup> {
        LookupControlFlow::Continue(Ok(AuthLookup::default()))
    }
}

/// Where a reply lands.
#[derive(Clone, Default)]
struct Landing(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl ResponseHandler for Landing {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut octets = Vec::with_capacity(512);
        let info = response.destructive_emit(&mut BinEncoder::new(&mut octets))?;
        *self.0.lock().unwrap() = octets;
        Ok(info)
    }
}

fn question(name: &str, rtype: u16) -> Vec<u8> {
    let origin = Name::from_text("example.test.", None).unwrap();
    let name = Name::from_text(name, Some(&origin)).unwrap();
    [&[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], name.octets(), &rtype.to_be_bytes(), &[0, 1]].concat()
}

/// What a resolver sees: code, AA, and each section's records.
fn shape(octets: &[u8]) -> String {
    let reply = Message::from_vec(octets).unwrap();
    let lines = |records: &[Record]| {
        let mut all: Vec<String> =
            records.iter().map(|one| format!("{} {} {}", one.name, one.ttl, one.data)).collect();
        all.sort();
        all.join(", ")
    };
    let head = &reply.metadata;
    format!(
        "{:?} aa={} [{}] [{}] [{}]",
        head.response_code,
        head.authoritative,
        lines(&reply.answers),
        lines(&reply.authorities),
        lines(&reply.additionals)
    )
}

#[tokio::test]
async fn what_the_catalog_says_of_a_zone_of_ours() {
    let origin = Name::from_text("example.test.", None).unwrap();
    let zone = Arc::new(Zone::build(&origin, zonefile::parse(TEXT, &origin, None).unwrap()).unwrap());
    let mut catalog = Catalog::new();
    let handler = Handler::new(zone.clone());
    catalog.upsert(handler.origin.clone(), vec![Arc::new(handler)]);
    let engine = Engine::new([7; 16], b"test", None);
    let mut served = Served::default();
    served.put(&origin, Arc::new(Views::plain(zone)));
    engine.served.publish(served);
    let mut desk = engine.desk(Limiter::off());
    engine.look_up(&mut desk, 0);
    let asker = Asker { address: [127, 0, 0, 1].into(), stream: false };
    let from = "127.0.0.1:5353".parse().unwrap();

    let names =
        ["@", "mail", "MaIl", "www", "q.w", "c", "nx", "a.nx", "out", "ns1", "x.sub", "sub", "bad", "x.d"];
    let mut different: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    let (mut took_ours, mut took_catalogs, mut out) = (0, 0, Vec::new());
    for (name, rtype) in names.iter().flat_map(|name| [1, 2, 5, 6, 15, 28].map(|rtype| (*name, rtype))) {
        let asked = question(name, rtype);
        let landing = Landing::default();
        let began = Instant::now();
        for _ in 0..50 {
            let request = Request::from_bytes(asked.clone(), from, Protocol::Udp).unwrap();
            catalog.handle_request::<_, TokioTime>(&request, landing.clone()).await;
        }
        took_catalogs += began.elapsed().as_nanos();
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(engine.handle(&mut desk, &asked, asker, &mut out), Verdict::Reply);
        }
        took_ours += began.elapsed().as_nanos();
        if shape(&out) != shape(&landing.0.lock().unwrap()) {
            different.entry(name).or_default().push(rtype);
        }
    }
    let asked = (names.len() * 6 * 50) as u128;
    println!("a question: {} ns by our path, {} ns by the Catalog", took_ours / asked, took_catalogs / asked);
    // The Catalog cannot be told otherwise by a handler:
    let expected = BTreeMap::from([
        // a SOA question gets the NS set too;
        ("@", vec![6]),
        ("out", vec![6]),
        // an alias, or what a DNAME makes one, to a name that has not the type is answered without the SOA, so that nobody may remember it;
        ("www", vec![2, 6, 15]),
        ("x.d", vec![2, 6, 15, 28]),
        // a referral claims authority;
        ("sub", vec![1, 2, 5, 6, 15, 28]),
        ("x.sub", vec![1, 2, 5, 6, 15, 28]),
        // and the end of an alias that leads nowhere is not NXDOMAIN.
        ("bad", vec![1, 2, 6, 15, 28]),
    ]);
    assert_eq!(different, expected);
}
