//! Record types: their numbers, names and how their data is laid out.

use std::fmt;

use super::shaped::Shape;

/// A record type's number (IANA "Resource Record (RR) TYPEs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordType(pub u16);

/// One field of a type's data, in wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// One octet.
    U8,
    /// Two octets.
    U16,
    /// Four octets.
    U32,
    /// Four octets, written as seconds or with units.
    Ttl,
    /// Four octets, written as `YYYYMMDDHHmmSS` (RFC 4034 section 3.2).
    Time,
    /// Two octets, a record type.
    Type,
    /// A name that may be compressed: types of RFC 1035 alone (RFC 3597 section 4).
    CompressibleName,
    /// A name that is never compressed by us; lower case in canonical form (RFC 4034 section 6.2, RFC 6840 5.1).
    LowerName,
    /// A name whose case is kept in canonical form.
    CasedName,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// One character string.
    Chars,
    /// One or more character strings to the end.
    CharsRest,
    /// Octets to the end, written as one quoted text.
    TextRest,
    /// Octets to the end, written in base 16.
    HexRest,
    /// Octets to the end, written in base 64.
    Base64Rest,
    /// A length octet and octets, written in base 16, `-` when empty.
    Salt,
    /// A length octet and octets, written in base 32 hex.
    Hash32,
    /// Type bit maps (RFC 4034 section 4.1.2).
    Bitmap,
    /// SvcParams (RFC 9460).
    SvcParams,
    /// Eight octets, written as four groups of base 16 (RFC 6742).
    Node64,
    /// Six octets, written `aa-bb-…`.
    Eui48,
    /// Eight octets, written `aa-bb-…`.
    Eui64,
    /// Data to the end whose text is not a word a field.
    Shaped(Shape),
}

use Field::*;
use Shape::*;

macro_rules! types {
    ($($constant:ident $number:literal $text:literal [$($field:expr),*];)*) => {
        impl RecordType {
            $(#[doc = concat!("`", $text, "`")] pub const $constant: RecordType = RecordType($number);)*

            /// How the data is laid out; none for types that we know by number alone.
            pub fn layout(self) -> Option<&'static [Field]> {
                match self.0 { $($number => Some(&[$($field),*]),)* _ => None }
            }

            fn mnemonic(self) -> Option<&'static str> {
                match self.0 { $($number => Some($text),)* _ => None }
            }

            /// The type of a mnemonic or of `TYPEnnn` (RFC 3597 section 5), whatever its case.
            pub fn from_text(text: &str) -> Option<RecordType> {
                let upper = text.to_ascii_uppercase();
                match upper.as_str() { $($text => return Some(RecordType($number)),)* _ => {} }
                match upper.as_str() {
                    "ANY" => Some(RecordType::ANY),
                    "AXFR" => Some(RecordType::AXFR),
                    "IXFR" => Some(RecordType::IXFR),
                    other => other.strip_prefix("TYPE")?.parse().ok().map(RecordType),
                }
            }
        }
    };
}

types! {
    A 1 "A" [Ipv4];
    NS 2 "NS" [CompressibleName];
    MD 3 "MD" [CompressibleName];
    MF 4 "MF" [CompressibleName];
    CNAME 5 "CNAME" [CompressibleName];
    SOA 6 "SOA" [CompressibleName, CompressibleName, U32, Ttl, Ttl, Ttl, Ttl];
    MB 7 "MB" [CompressibleName];
    MG 8 "MG" [CompressibleName];
    MR 9 "MR" [CompressibleName];
    PTR 12 "PTR" [CompressibleName];
    HINFO 13 "HINFO" [Chars, Chars];
    MINFO 14 "MINFO" [CompressibleName, CompressibleName];
    MX 15 "MX" [U16, CompressibleName];
    TXT 16 "TXT" [CharsRest];
    RP 17 "RP" [LowerName, LowerName];
    AFSDB 18 "AFSDB" [U16, LowerName];
    X25 19 "X25" [Chars];
    ISDN 20 "ISDN" [CharsRest];
    RT 21 "RT" [U16, LowerName];
    SIG 24 "SIG" [Type, U8, U8, U32, Time, Time, U16, LowerName, Base64Rest];
    KEY 25 "KEY" [U16, U8, U8, Base64Rest];
    PX 26 "PX" [U16, LowerName, LowerName];
    GPOS 27 "GPOS" [Chars, Chars, Chars];
    AAAA 28 "AAAA" [Ipv6];
    LOC 29 "LOC" [Shaped(Loc)];
    SRV 33 "SRV" [U16, U16, U16, LowerName];
    NAPTR 35 "NAPTR" [U16, U16, Chars, Chars, Chars, LowerName];
    KX 36 "KX" [U16, LowerName];
    CERT 37 "CERT" [U16, U16, U8, Base64Rest];
    DNAME 39 "DNAME" [LowerName];
    APL 42 "APL" [Shaped(Apl)];
    DS 43 "DS" [U16, U8, U8, HexRest];
    SSHFP 44 "SSHFP" [U8, U8, HexRest];
    IPSECKEY 45 "IPSECKEY" [Shaped(Ipseckey)];
    RRSIG 46 "RRSIG" [Type, U8, U8, U32, Time, Time, U16, LowerName, Base64Rest];
    NSEC 47 "NSEC" [CasedName, Bitmap];
    DNSKEY 48 "DNSKEY" [U16, U8, U8, Base64Rest];
    DHCID 49 "DHCID" [Base64Rest];
    NSEC3 50 "NSEC3" [U8, U8, U16, Salt, Hash32, Bitmap];
    NSEC3PARAM 51 "NSEC3PARAM" [U8, U8, U16, Salt];
    TLSA 52 "TLSA" [U8, U8, U8, HexRest];
    SMIMEA 53 "SMIMEA" [U8, U8, U8, HexRest];
    HIP 55 "HIP" [Shaped(Hip)];
    NINFO 56 "NINFO" [CharsRest];
    CDS 59 "CDS" [U16, U8, U8, HexRest];
    CDNSKEY 60 "CDNSKEY" [U16, U8, U8, Base64Rest];
    OPENPGPKEY 61 "OPENPGPKEY" [Base64Rest];
    CSYNC 62 "CSYNC" [U32, U16, Bitmap];
    ZONEMD 63 "ZONEMD" [U32, U8, U8, HexRest];
    SVCB 64 "SVCB" [U16, CasedName, SvcParams];
    HTTPS 65 "HTTPS" [U16, CasedName, SvcParams];
    SPF 99 "SPF" [CharsRest];
    NID 104 "NID" [U16, Node64];
    L32 105 "L32" [U16, Ipv4];
    L64 106 "L64" [U16, Node64];
    LP 107 "LP" [U16, CasedName];
    EUI48 108 "EUI48" [Eui48];
    EUI64 109 "EUI64" [Eui64];
    URI 256 "URI" [U16, U16, TextRest];
    CAA 257 "CAA" [U8, Chars, TextRest];
    AVC 258 "AVC" [CharsRest];
    AMTRELAY 260 "AMTRELAY" [Shaped(Amtrelay)];
    RESINFO 261 "RESINFO" [CharsRest];
    WALLET 262 "WALLET" [CharsRest];
    TA 32768 "TA" [U16, U8, U8, HexRest];
    DLV 32769 "DLV" [U16, U8, U8, HexRest];
}

impl RecordType {
    /// The pseudo-type of EDNS (RFC 6891).
    pub const OPT: RecordType = RecordType(41);
    /// The pseudo-type of transaction signatures (RFC 8945).
    pub const TSIG: RecordType = RecordType(250);
    /// Incremental transfer (RFC 1995).
    pub const IXFR: RecordType = RecordType(251);
    /// Whole transfer (RFC 5936).
    pub const AXFR: RecordType = RecordType(252);
    /// All types of a name.
    pub const ANY: RecordType = RecordType(255);

    /// Whether records of this type can be data of a zone: neither QTYPE nor pseudo-type (RFC 6895 section 3.1).
    pub fn is_data(self) -> bool {
        self != RecordType::OPT && self.0 != 0 && !(128..=255).contains(&self.0) && self.0 != 65535
    }

    /// Whether the signer alone makes records of this type.
    pub fn is_made_by_signer(self) -> bool {
        matches!(self, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3 | RecordType::NSEC3PARAM)
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => match *self {
                RecordType::ANY => f.write_str("ANY"),
                RecordType::AXFR => f.write_str("AXFR"),
                RecordType::IXFR => f.write_str("IXFR"),
                _ => write!(f, "TYPE{}", self.0),
            },
        }
    }
}
