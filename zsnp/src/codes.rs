//! Enumerations whose numbers are on the wire or in counters: each declared once, with numbers and names.

/// Declares one: variant, number, name in logs and metrics.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$what:meta])* $variant:ident = $number:literal, $label:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$what])* $variant = $number,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: [$name; [$($number),*].len()] = [$($name::$variant),*];

            /// Its name in logs and metrics.
            pub const fn label(self) -> &'static str {
                match self {
                    $($name::$variant => $label,)*
                }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = $crate::Refusal;

            /// The one of this number.
            fn try_from(number: u8) -> Result<$name, $crate::Refusal> {
                match number {
                    $($number => Ok($name::$variant),)*
                    _ => Err($crate::Refusal::Malformed),
                }
            }
        }
    };
}

pub(crate) use codes;
