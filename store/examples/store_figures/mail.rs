//! Mail to measure with: the same number always gives the same message.

/// Reproducible chance (SplitMix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.roll() % most
    }
}

/// A vocabulary of which few words are said often, as in every language.
fn word(dice: &mut Dice) -> String {
    let (a, b) = (dice.below(64), dice.below(64) + 1);
    let mut letters = Dice(a * b * 7 / 3);
    let syllables = [
        "an", "ber", "co", "de", "er", "fi", "gen", "ho", "in", "ka", "le", "ment", "no", "or", "pre", "st",
        "ti", "ver",
    ];
    (0..1 + letters.below(4)).map(|_| syllables[letters.below(18) as usize]).collect()
}

fn base64(dice: &mut Dice, len: usize) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..len).map(|_| digits[dice.below(64) as usize] as char).collect()
}

/// A message of `size` bytes, as a mail server gets it: its way, a signature, who to whom, and text.
pub fn message(number: u64, size: usize) -> Vec<u8> {
    let dice = &mut Dice(number);
    let (from, list) = (dice.below(400), dice.below(12));
    let mut text = format!(
        "Return-Path: <person{from}@example.com>\r\n\
         Received: from mx{list}.example.com (mx{list}.example.com [192.0.2.{list}])\r\n\tby mail.example.org (nymote) with ESMTPS id {}\r\n\tfor <ada@example.org>; Thu, 12 Nov 2026 10:{:02}:{:02} +0000\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.com; s=mail;\r\n\th=from:to:subject:date:message-id; bh={}=;\r\n\tb={}\r\n\
         From: Person {from} <person{from}@example.com>\r\nTo: List {list} <list{list}@example.org>\r\n\
         Subject: {} {} {}\r\nDate: Thu, 12 Nov 2026 10:00:{:02} +0000\r\nMessage-ID: <{number}.{}@example.com>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        base64(dice, 12),
        dice.below(60),
        dice.below(60),
        base64(dice, 43),
        base64(dice, 172),
        word(dice),
        word(dice),
        word(dice),
        dice.below(60),
        base64(dice, 16),
    );
    let mut column = 0;
    while text.len() + 2 < size {
        let next = word(dice);
        column += next.len() + 1;
        text.push_str(&next);
        text.push_str(if column > 66 { "\r\n" } else { " " });
        column = if column > 66 { 0 } else { column };
    }
    text.truncate(size.saturating_sub(2));
    text.push_str("\r\n");
    text.into_bytes()
}

/// Where the mail appliance keeps the message of that UID: no directory grows beyond a hundred messages.
pub fn path(uid: u64) -> String {
    format!("mail/inbox/{:04}/{:02}/{uid:08}.20261112T100000Z.4096.{uid}.eml", uid / 10_000, uid / 100 % 100)
}
