//! Any bytes, on any port, in any order: nothing panics, the books balance, what is sent is well-formed.

use proptest::prelude::*;
use tidegate_tests::fuzz;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_gateway_survives_any_script(script in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz::pipeline(&script);
    }

    #[test]
    fn the_gateway_survives_frames_that_are_nearly_right(
        steps in prop::collection::vec((any::<u8>(), any::<bool>(), prop::collection::vec(any::<u8>(), 14..200)), 0..30),
    ) {
        let mut script = Vec::new();
        for (head, ip, mut bytes) in steps {
            bytes[12..14].copy_from_slice(if ip { &[8, 0] } else { &[8, 6] });
            script.push(head);
            script.extend((bytes.len() as u16).to_be_bytes());
            script.extend(bytes);
        }
        fuzz::pipeline(&script);
    }

    #[test]
    fn the_parser_survives_any_frame(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::parse(&frame);
    }
}
