//! What Open vSwitch speaks.

/// Defines the constants of a C enumeration under the names that the kernel gives them, and the table of these names,
/// from one list in numerical order.
macro_rules! numbered {
    ($(#[$meta:meta])* $table:ident: $($name:ident = $number:literal,)*) => {
        $(pub const $name: u16 = $number;)*

        $(#[$meta])*
        pub(super) static $table: &[&str] = {
            let names = &[$(stringify!($name)),*];
            let numbers = [$($number),*];
            let mut index = 0;
            while index < numbers.len() {
                assert!(numbers[index] == index);
                index += 1;
            }
            names
        };
    };
}

pub mod actions;
pub mod family;
pub mod flow_key;
pub mod flow_request;
pub mod packet;
pub mod ports;
pub mod release;
pub mod request_text;
pub mod upcall_attributes;
pub mod userdata;
