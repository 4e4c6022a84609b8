//! HTML of strangers made harmless: nothing runs, nothing is fetched that was not asked for.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// The policy of the frame in which a message's HTML stands: no scripts, no forms, no frames; pictures from elsewhere
/// only when asked for. The frame keeps our origin so that the page around it can see how high it is; nothing in it runs.
pub fn policy(pictures: bool) -> String {
    let pictures = if pictures { " https: http:" } else { "" };
    format!(
        "default-src 'none'; img-src 'self' data:{pictures}; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; \
         frame-ancestors 'self'; sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox"
    )
}

/// Cleans HTML. Pictures from elsewhere are taken out unless `pictures`; `cid:` pictures become `part(id)`.
pub fn clean(
    html: &str,
    pictures: bool,
    part: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> String {
    let mut builder = ammonia::Builder::default();
    let styled: HashSet<&str> =
        ["style", "align", "valign", "bgcolor", "width", "height", "color", "dir"].into();
    builder
        .add_generic_attributes(styled)
        .add_tags(["font", "center", "u"])
        .clean_content_tags(["script", "style", "title"].into())
        .url_schemes(["http", "https", "mailto", "cid", "data"].into())
        .set_tag_attribute_values(HashMap::from([("a", HashMap::from([("target", "_blank")]))]))
        .link_rel(Some("noopener noreferrer"))
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => picture(value, pictures, &part),
            (_, "style") if !style_is_harmless(value, pictures) => None,
            ("a", "href") if value.trim_start().to_ascii_lowercase().starts_with("data:") => None,
            _ => Some(value.into()),
        });
    builder.clean(html).to_string()
}

fn picture<'v>(
    value: &'v str,
    pictures: bool,
    part: &impl Fn(&str) -> Option<String>,
) -> Option<Cow<'v, str>> {
    let lower = value.trim().to_ascii_lowercase();
    if let Some(id) = lower.strip_prefix("cid:") {
        return part(id).map(Cow::Owned);
    }
    let inline = ["data:image/png", "data:image/jpeg", "data:image/gif", "data:image/webp"];
    if inline.iter().any(|prefix| lower.starts_with(prefix)) {
        return Some(value.into());
    }
    let remote = lower.starts_with("https:") || lower.starts_with("http:");
    (remote && pictures).then(|| value.into())
}

/// A style that fetches nothing, covers nothing and expresses nothing.
fn style_is_harmless(style: &str, pictures: bool) -> bool {
    let lower = style.to_ascii_lowercase();
    let fetches =
        lower.contains("url") || lower.contains("image-set") || lower.contains('\\') || lower.contains("/*");
    let covers = lower.contains("position") || lower.contains("expression") || lower.contains("behavior");
    (!fetches || (pictures && !lower.contains('\\') && !lower.contains("/*"))) && !covers
}

/// Whether HTML has pictures from elsewhere.
pub fn has_remote_pictures(html: &str) -> bool {
    let lower = html.to_ascii_lowercase();
    lower.contains("src=\"http")
        || lower.contains("src='http")
        || lower.contains("src=http")
        || lower.contains("url(")
}

/// Plain text as HTML, with links; what is quoted stands apart.
pub fn from_text(text: &str) -> String {
    let mut out = String::from("<pre>");
    let mut in_quote = false;
    for line in text.split_inclusive('\n') {
        let quoted = line.starts_with('>');
        if quoted != in_quote {
            out += if quoted { "<span class=\"quote\">" } else { "</span>" };
            in_quote = quoted;
        }
        with_links(line, &mut out);
    }
    if in_quote {
        out += "</span>";
    }
    out + "</pre>"
}

fn with_links(line: &str, out: &mut String) {
    for word in line.split_inclusive(char::is_whitespace) {
        let start = word.find("https://").or_else(|| word.find("http://"));
        let Some(start) = start.filter(|at| word[..*at].chars().all(|c| "(<[\"'".contains(c))) else {
            *out += &escape(word);
            continue;
        };
        let link = word[start..]
            .trim_end()
            .trim_end_matches([')', '>', ']', '"', '\'', '.', ',', ';', ':', '!', '?']);
        let escaped = escape(link);
        *out += &escape(&word[..start]);
        *out += &format!("<a href=\"{escaped}\" rel=\"noopener noreferrer\" target=\"_blank\">{escaped}</a>");
        *out += &escape(&word[start + link.len()..]);
    }
}

/// Text inside HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean_of(html: &str, pictures: bool) -> String {
        clean(html, pictures, |id| Some(format!("/part/{id}")))
    }

    #[test]
    fn nothing_runs_and_nothing_is_fetched() {
        for evil in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<a href='javascript:alert(1)'>x</a>",
            "<iframe src=https://evil.test></iframe>",
            "<svg onload=alert(1)>",
            "<form action=https://evil.test><input></form>",
            "<link rel=stylesheet href=https://evil.test/x.css>",
            "<meta http-equiv=refresh content='0;https://evil.test'>",
            "<div style=\"background:url(https://evil.test/x)\">x</div>",
            "<div style=\"background:\\75rl(https://evil.test)\">x</div>",
            "<img src=https://evil.test/track.gif>",
            "<table background=https://evil.test/x><tr><td>x</td></tr></table>",
            "<base href=https://evil.test/>",
            "<div style=\"position:fixed;top:0\">x</div>",
            "<a href='data:text/html,x'>y</a>",
            "<img srcset='https://evil.test/x 2x'>",
            "<video poster=https://evil.test></video>",
        ] {
            let out = clean_of(evil, false);
            for bad in [
                "script",
                "onerror",
                "onload",
                "javascript",
                "evil.test",
                "position",
                "data:text",
                "<form",
                "<iframe",
            ] {
                assert!(!out.contains(bad), "{evil} became {out}");
            }
        }
    }

    #[test]
    fn what_is_harmless_stays_and_pictures_come_when_asked_for() {
        let out =
            clean_of("<b style='color:red'>x</b><img src='cid:A1'><img src='https://ok.test/p.png'>", true);
        assert!(
            out.contains("color:red") && out.contains("/part/a1") && out.contains("https://ok.test/p.png"),
            "{out}"
        );
        assert!(policy(false).contains("img-src 'self' data:;") && policy(true).contains("https:"));
        let text = from_text("see (https://x.test/?a=1&b=2). <now>\n> old \"x\"\nnew");
        assert!(
            text.contains("(<a href=\"https://x.test/?a=1&amp;b=2\"") && text.contains("</a>). &lt;now&gt;"),
            "{text}"
        );
        assert!(text.contains("<span class=\"quote\">&gt; old &quot;x&quot;\n</span>new"), "{text}");
        assert!(
            !from_text("javascript:alert(1) \"https://x.test/\" onclick=x").contains("href=\"javascript")
        );
    }
}
