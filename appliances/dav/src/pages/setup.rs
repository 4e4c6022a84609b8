//! Setting up devices: an address and a password; a profile for Apple's, a code to scan for DAVx5.

use chassis::http::{Answer, HeaderValue, Request, Router, StatusCode, header, reply};
use chassis::web::qr_svg;

use super::About;
use super::html::Html;
use crate::household::properties::Kind;
use crate::http::Site;

pub fn routes(site: &Site, about: &'static About) -> Router {
    let (a, b) = (site.clone(), site.clone());
    Router::new()
        .get("/setup", move |request| {
            let site = a.clone();
            async move { page(&site, about, &request).await }
        })
        .get("/setup/nymote.mobileconfig", move |request| {
            let site = b.clone();
            async move { profile(&site, about, &request).await }
        })
}

async fn page(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let host = request.host().unwrap_or("localhost");
    let user = &visitor.account().user;
    let mut html = Html::default();
    html.raw("<h1>Set up a device</h1><p class=\"lead\">An address and a password are all that a device needs. Give each its <a href=\"/devices\">own password</a>, so that you can revoke one alone.</p>");
    html.raw("<dl class=\"facts\"><div><dt>Address</dt><dd><code>https://")
        .text(host)
        .raw("/</code></dd></div>");
    html.raw("<div><dt>User name</dt><dd><code>").text(user).raw("</code></dd></div>");
    html.raw(
        "<div><dt>Password</dt><dd>of the device, from <a href=\"/devices\">Devices</a></dd></div></dl>",
    );
    html.raw("<h2>iPhone, iPad, Mac</h2><p><a href=\"/setup/nymote.mobileconfig\">Download the profile</a> and open it. It asks for the password.</p>");
    html.raw("<h2>Android with DAVx5</h2><p>Scan this, then enter the password.</p>");
    if let Some(svg) = qr_svg(&format!("davx5://{user}@{host}/")) {
        html.raw("<div class=\"qr\">").raw(&svg).raw("</div>");
    }
    html.raw("<h2>Thunderbird, GNOME, KDE and others</h2><p>Choose CalDAV or CardDAV and give the address above.</p>");
    let end = if about.kind == Kind::Calendar { "calendar.git" } else { "contacts.git" };
    html.raw("<h2>git</h2><p><code>git clone https://").text(host).raw("/").raw(end).raw("</code></p>");
    site.chassis.page_of_html(Some(&visitor), &about.page("Set up a device", "/setup"), &html.0)
}

async fn profile(site: &Site, about: &'static About, request: &Request) -> Answer {
    let visitor = site.chassis.require(request).await?;
    let host = request.host().unwrap_or("localhost");
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "443"));
    let user = &visitor.account().user;
    let (kind, prefix) = match about.kind {
        Kind::AddressBook => ("com.apple.carddav.account", "CardDAV"),
        _ => ("com.apple.caldav.account", "CalDAV"),
    };
    let mut id = Html::default();
    id.text(&format!("nymote.{user}.{prefix}"));
    let id = id.0;
    let mut xml = Html::default();
    xml.raw("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\"><dict><key>PayloadContent</key><array><dict>");
    for (key, value) in [
        ("HostName", name),
        ("Username", user.as_str()),
        ("PrincipalURL", &crate::path::principal_href(user)),
        ("AccountDescription", site.chassis.domain()),
    ] {
        xml.raw("<key>").raw(prefix).raw(key).raw("</key><string>").text(value).raw("</string>");
    }
    xml.raw("<key>")
        .raw(prefix)
        .raw("Port</key><integer>")
        .text(port)
        .raw("</integer><key>")
        .raw(prefix)
        .raw("UseSSL</key><true/>");
    xml.raw("<key>PayloadType</key><string>")
        .raw(kind)
        .raw("</string><key>PayloadVersion</key><integer>1</integer>");
    xml.raw("<key>PayloadIdentifier</key><string>")
        .raw(&id)
        .raw(".account</string><key>PayloadUUID</key><string>")
        .raw(&id)
        .raw(".account</string></dict></array>");
    xml.raw("<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key><integer>1</integer><key>PayloadDisplayName</key><string>");
    xml.text(site.chassis.domain())
        .raw("</string><key>PayloadIdentifier</key><string>")
        .raw(&id)
        .raw("</string><key>PayloadUUID</key><string>")
        .raw(&id)
        .raw("</string></dict></plist>\n");
    let mut response = reply(StatusCode::OK, "application/x-apple-aspen-config", xml.0);
    response.headers_mut().insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"nymote.mobileconfig\""),
    );
    Ok(response)
}
