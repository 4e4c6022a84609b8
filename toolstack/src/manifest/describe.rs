//! `nymote describe`: what a `nymote.toml` says, as a tree, as DOT, as SVG.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::{MANIFEST, Manifest};
use crate::suite::SUITE;
use crate::trouble::Trouble;

/// Draws what a nymote.toml says: networks, machines, services and their ports.
#[derive(Debug, clap::Args)]
pub struct DescribeArgs {
    /// The file
    #[arg(default_value = MANIFEST)]
    file: PathBuf,
    /// text, svg or dot
    #[arg(long, default_value = "text", value_parser = ["text", "svg", "dot"])]
    format: String,
}

/// Runs it.
pub fn describe(args: DescribeArgs) -> Result<(), Trouble> {
    let (manifest, _) = Manifest::load(&args.file)?;
    let drawn = match args.format.as_str() {
        "svg" => svg(&manifest),
        "dot" => dot(&manifest),
        _ => tree(&manifest),
    };
    print!("{drawn}");
    Ok(())
}

/// One machine in words.
struct Machine {
    name: String,
    network: String,
    address: String,
    size: String,
    ports: Vec<String>,
}

fn machines(manifest: &Manifest) -> Vec<Machine> {
    SUITE
        .iter()
        .filter_map(|member| {
            let name = member.identity.name;
            let service = manifest.services.get(name)?.get_ref();
            let (memory, disk) = manifest.size(name)?;
            let port = |one: &chassis::Service| {
                let port = service.ports.get(one.name).map_or(one.port, |port| *port.get_ref());
                format!("{} {port}", if one.name == "web" { "https" } else { one.name })
            };
            Some(Machine {
                name: name.to_owned(),
                network: service.network.as_ref().map_or(String::new(), |network| network.get_ref().clone()),
                address: service
                    .address
                    .as_ref()
                    .map_or(String::new(), |address| address.get_ref().to_string()),
                size: format!("{memory} memory, {disk} disk"),
                ports: member.identity.services.iter().map(port).collect(),
            })
        })
        .collect()
}

fn tree(manifest: &Manifest) -> String {
    let accounts: Vec<&str> =
        manifest.accounts.iter().map(|one| one.get_ref().user.get_ref().as_str()).collect();
    let mut text = format!("{}  accounts: {}\n", manifest.domain.get_ref(), accounts.join(", "));
    let machines = machines(manifest);
    for (name, network) in &manifest.networks {
        let network = network.get_ref();
        let gateway =
            network.gateway.as_ref().map_or(String::new(), |one| format!(", gateway {}", one.get_ref()));
        let _ = writeln!(
            text,
            "└─ {name}  {} on bridge {}{gateway}",
            network.prefix.get_ref(),
            network.bridge.get_ref()
        );
        let on_it: Vec<&Machine> = machines.iter().filter(|machine| machine.network == *name).collect();
        for (place, machine) in on_it.iter().enumerate() {
            let (branch, below) =
                if place + 1 == on_it.len() { ("└─", "  ") } else { ("├─", "│ ") };
            let _ =
                writeln!(text, "   {branch} {:<10} {:<16} {}", machine.name, machine.address, machine.size);
            let _ = writeln!(text, "   {below}            {}", machine.ports.join("  "));
        }
    }
    text
}

fn dot(manifest: &Manifest) -> String {
    let mut text = String::from("graph nymote {\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n");
    for (name, network) in &manifest.networks {
        let label = format!("{name}\\n{}", network.get_ref().prefix.get_ref());
        let _ = writeln!(text, "  \"net {name}\" [shape=ellipse, label=\"{label}\"];");
    }
    for machine in machines(manifest) {
        let label = format!("{}\\n{}\\n{}", machine.name, machine.size, machine.ports.join(" "));
        let _ = writeln!(text, "  \"{}\" [label=\"{label}\"];", machine.name);
        let _ = writeln!(
            text,
            "  \"net {}\" -- \"{}\" [label=\"{}\"];",
            machine.network, machine.name, machine.address
        );
    }
    text.push_str("}\n");
    text
}

fn svg(manifest: &Manifest) -> String {
    let machines = machines(manifest);
    let height = 60 + machines.len() * 92;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {height}\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <rect width=\"640\" height=\"{height}\" fill=\"#fbfaf7\"/>\n\
         <text x=\"24\" y=\"34\" font-size=\"18\" font-weight=\"600\" fill=\"#1d2321\">{}</text>\n",
        escaped(manifest.domain.get_ref())
    );
    let mut row = 0;
    for (name, network) in &manifest.networks {
        let on_it: Vec<&Machine> = machines.iter().filter(|machine| machine.network == *name).collect();
        let (top, middle) = (60 + row * 92, 60 + row * 92 + on_it.len() * 46);
        let _ = writeln!(
            text,
            "<text x=\"24\" y=\"{middle}\" font-weight=\"600\" fill=\"#1f5f5b\">{}</text>\
             <text x=\"24\" y=\"{}\" fill=\"#5c6663\">{}</text>",
            escaped(name),
            middle + 18,
            escaped(network.get_ref().prefix.get_ref())
        );
        for (place, machine) in on_it.iter().enumerate() {
            let y = top + place * 92;
            let _ = writeln!(
                text,
                "<path d=\"M150 {middle} C200 {middle} 190 {m} 240 {m}\" fill=\"none\" stroke=\"#1f5f5b\"/>\
                 <rect x=\"240\" y=\"{y}\" width=\"376\" height=\"76\" rx=\"8\" fill=\"#fff\" stroke=\"#e3e0d8\"/>\
                 <text x=\"258\" y=\"{a}\" font-weight=\"600\" fill=\"#1d2321\">{}</text>\
                 <text x=\"598\" y=\"{a}\" text-anchor=\"end\" fill=\"#1f5f5b\">{}</text>\
                 <text x=\"258\" y=\"{b}\" fill=\"#5c6663\">{}</text><text x=\"258\" y=\"{c}\" fill=\"#5c6663\">{}</text>",
                escaped(&machine.name),
                escaped(&machine.address),
                escaped(&machine.size),
                escaped(&machine.ports.join("  ")),
                m = y + 38,
                a = y + 24,
                b = y + 44,
                c = y + 64
            );
        }
        row += on_it.len();
    }
    text.push_str("</svg>\n");
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
