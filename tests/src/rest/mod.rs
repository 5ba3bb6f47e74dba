//! A gateway as the REST API sees it, without its packets: documents in a real store, in a folder that goes with it. And a client
//! that speaks HTTP itself, so that a test may say anything.

mod client;
mod desk;
mod site;

pub use self::{
    client::{Client, Said, Stream},
    desk::Desk,
    site::{Settings, Site, TOKENS, certificates},
};
