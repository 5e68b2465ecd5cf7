//! The packet that unit tests of BFD begin from.

use std::time::Duration;

use super::packet::{Diagnostic, Packet, State};

/// From a neighbour that has not heard us: multiplier 3, 100 ms both ways, no flag.
pub fn packet(state: State) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        multiplier: 3,
        my_discriminator: 7,
        your_discriminator: 0,
        desired_min_tx: Duration::from_millis(100),
        required_min_rx: Duration::from_millis(100),
        required_min_echo_rx: Duration::ZERO,
    }
}
