//! `routectl explain`: may it, and which rule says so.

use clap::Args;
use routenet_core::policy::explain::Traffic;

use super::output::{Format, Style, counted};
use super::{Answer, CliError, REFUSED};
use crate::api::Request;
use crate::api::client::{Client, ClientError};
use crate::api::listing::{ExplainReply, Verdict};

/// Whether a packet may go from one to the other, and which rule decides it
///
/// Asks the evaluator that the chains in the kernel are made by, at both ends: what the sender may send, and what the
/// receiver accepts. A reply to a packet that was allowed always passes, and is not asked about here.
///
/// With --trace a real packet is sent as well: a SYN, an empty datagram or an echo request, from within the workload FROM
/// (or from `host`), which must be on the node that is asked. It is watched on all interfaces of that node.
///
/// FROM and TO are addresses, workloads by NAMESPACE/NAME, or `host` and `host:NODE`. An address that no workload has stands for the world
/// outside: only the other end then decides.
#[derive(Debug, Args)]
#[command(after_long_help = "\
EXAMPLES
  routectl explain shop/web shop/db tcp/5432
  routectl explain 203.0.113.7 10.65.0.3 tcp/443
  routectl explain shop/web 10.65.1.4 icmp
  routectl explain --trace shop/web shop/db tcp/5432

EXIT STATUS
  0  allowed
  1  denied
  2  it cannot be told: no such workload, a wrong command line, or the agent cannot be asked")]
pub struct ExplainArgs {
    /// Who sends: an address, NAMESPACE/NAME, or `host`
    from: String,
    /// Who receives: an address, NAMESPACE/NAME, or `host`
    to: String,
    /// The protocol, with its destination port where it has ports: tcp/80, udp/53, icmp, 47
    #[arg(value_name = "PROTO/PORT", value_parser = str::parse::<Traffic>)]
    traffic: Traffic,
    /// Send a real packet from FROM, and say where it was seen and where it ended
    #[arg(long)]
    trace: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

impl ExplainArgs {
    pub fn run(self, client: &Client, style: Style) -> Result<Answer, CliError> {
        let request = Request::Explain {
            from: self.from,
            to: self.to,
            protocol: self.traffic.protocol.to_string(),
            port: self.traffic.port,
            trace: self.trace,
        };
        let reply: ExplainReply = client.call(&request).map_err(|error| match error {
            // Exit 1 says denied here: what cannot be told is another thing.
            ClientError::Refused(error) => CliError::Input(error.message),
            error => CliError::Agent(error),
        })?;
        let text = self.output.data(&reply).unwrap_or_else(|| render(&reply, self.output.is_wide(), style));
        Ok(Answer { text, exit: if reply.allowed { 0 } else { REFUSED } })
    }
}

fn render(reply: &ExplainReply, wide: bool, style: Style) -> String {
    let verdict = word(reply.allowed, style);
    let traffic = match reply.port {
        Some(port) => format!("{}/{port}", reply.protocol),
        None => reply.protocol.clone(),
    };
    let name = |name: &str, address: std::net::IpAddr| match name == address.to_string() {
        true => name.to_string(),
        false => format!("{name} ({address})"),
    };
    let from = name(&reply.from, reply.source);
    let to = name(&reply.to, reply.destination);
    let mut text = format!("{verdict}: {from} to {to}, {traffic}\n");
    text += &end("sends", "egress", reply.egress.as_ref(), &reply.from, wide, style);
    text += &end("receives", "ingress", reply.ingress.as_ref(), &reply.to, wide, style);
    for host in &reply.hosts {
        let title = format!("{} at host endpoint {}", word(host.allowed, style), host.endpoint);
        text += &said("host", &title, host, wide);
    }
    if let Some(staged) = &reply.staged {
        text += &format!("  staged    would be {}: {}\n", word(staged.allowed, style), staged.decided_by);
    }
    let route = reply.route.as_deref().unwrap_or("none from this node");
    text += &format!("  route     {route}\n");
    if let Some(mtu) = reply.mtu {
        text += &format!("  MTU       {mtu}\n");
    }
    if let Some(trace) = &reply.trace {
        text += "  probe\n";
        text.extend(trace.steps.iter().map(|step| format!("            {step}\n")));
        let end = if trace.answered { style.good(&trace.end) } else { style.bad(&trace.end) };
        text += &format!("            {end}\n");
    }
    for note in &reply.notes {
        text += &format!("  note      {note}\n");
    }
    text
}

fn end(does: &str, direction: &str, verdict: Option<&Verdict>, name: &str, wide: bool, style: Style) -> String {
    let Some(verdict) = verdict else {
        return format!("  {does:<9} {name} is no workload: nothing decides its {direction}\n");
    };
    said(does, &word(verdict.allowed, style), verdict, wide)
}

fn word(allowed: bool, style: Style) -> String {
    if allowed { style.good("allowed") } else { style.bad("denied") }
}

fn said(title: &str, word: &str, verdict: &Verdict, wide: bool) -> String {
    let mut text = format!("  {title:<9} {word}: {}\n", verdict.decided_by);
    // How it came to a denial is what people want to know; for the rest they can ask.
    if wide || !verdict.allowed {
        // The step that decided stands in the line above.
        for step in verdict.trail.iter().filter(|step| !verdict.decided_by.ends_with(step.as_str())) {
            text += &format!("            {step}\n");
        }
    }
    if let Some(kernel) = &verdict.kernel {
        let (packets, bytes) = (counted(kernel.packets, "packet"), counted(kernel.bytes, "byte"));
        text += &format!("            counted {packets}, {bytes}, by {} here\n", kernel.chain);
        for rule in kernel.rules.iter().filter(|_| wide) {
            text += &format!("            {rule}\n");
        }
    }
    text
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
