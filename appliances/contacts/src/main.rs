//! The appliance as a program. See the library for what it does.

fn main() -> std::process::ExitCode {
    chassis::run(&contacts::IDENTITY, contacts::run)
}
