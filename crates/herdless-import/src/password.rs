//! The passwords of Apache ZooKeeper's sessions.

use herdless_core::SessionId;

/// `ZooKeeperServer.superSecret`.
const SECRET: i64 = 0xb341_5c00;

/// The password of a session (`ZooKeeperServer.generatePasswd`): no file has it, since any server makes it anew from the id, by
/// `java.util.Random` (a linear congruence of 48 bits, which its documentation specifies).
pub(crate) fn password(session: SessionId) -> [u8; 16] {
    const MULTIPLIER: i64 = 0x5_deec_e66d;
    const MASK: i64 = (1 << 48) - 1;
    let mut state = (session.0 ^ SECRET ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for chunk in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xb) & MASK;
        // `nextBytes` gives the bytes of each number from the least on.
        chunk.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_that_of_java() {
        // `new Random(id ^ 0xB3415C00L).nextBytes(password)`, by OpenJDK.
        let by_java = [
            (1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (0x1000_04a1_b2c3_0000, 0x1f00_d0be_c018_d5e9_95d5_f8fc_0917_d5f6),
            (-1, 0x20f6_2cb5_648d_c2d7_7147_1c8a_2486_a9ee),
            (-72_057_594_037_927_929, 0x2b8e_bb4a_77c9_3b3c_006d_d138_b384_19a0),
        ];
        for (id, expected) in by_java {
            assert_eq!(u128::from_be_bytes(password(SessionId(id))), expected, "{id}");
        }
    }
}
