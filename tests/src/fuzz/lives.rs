//! One gateway for many inputs. To make a gateway takes longer than most scripts; so a long run lets a gateway live through
//! some scripts, one after the other. It also gets older that way than any one script could make it.
//!
//! `TIDEGATE_FUZZ_LIFE=64` asks for it; without, every input has a gateway of its own. A finding must happen again with one
//! input: when a script fails in a gateway that has seen others, all of them are written into one file, which the target
//! reads as it reads any other input.

use std::{cell::RefCell, collections::BTreeSet, env, fs, panic, process, sync::OnceLock};

use super::world::World;

/// What a file of several scripts begins with; each follows as four bytes of length and itself.
const SEVERAL: &[u8] = b"several scripts\n";

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    /// What the gateway of that world has seen.
    static SEEN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Runs a script in a gateway, or several in one.
///
/// # Panics
/// When the gateway is wrong.
pub fn pipeline(input: &[u8]) {
    if let Some(scripts) = input.strip_prefix(SEVERAL) {
        let mut world = World::new();
        split(scripts).for_each(|script| world.live_through(script));
        return world.end();
    }
    match life_len() {
        0 | 1 => {
            let mut world = World::new();
            world.live_through(input);
            world.end();
        }
        len => WORLD.with_borrow_mut(|world| go_on(world, input, len)),
    }
}

/// What a gateway counts during a script: labels of drops, punts and events. Tells how deep a corpus leads.
pub fn counted(script: &[u8]) -> BTreeSet<&'static str> {
    let mut world = World::new();
    world.live_through(script);
    world.counted().collect()
}

fn go_on(world: &mut Option<World>, script: &[u8], len: usize) {
    let seen = SEEN.with_borrow_mut(|seen| {
        seen.push(script.to_vec());
        seen.len()
    });
    world.get_or_insert_with(World::new).live_through(script);
    if seen >= len {
        world.take().into_iter().for_each(World::end);
        SEEN.with_borrow_mut(Vec::clear);
    }
}

/// How many scripts a gateway lives through.
fn life_len() -> usize {
    static LEN: OnceLock<usize> = OnceLock::new();
    *LEN.get_or_init(|| {
        let len = env::var("TIDEGATE_FUZZ_LIFE").ok().and_then(|len| len.parse().ok()).unwrap_or(1);
        if len > 1 {
            write_when_it_fails();
        }
        len
    })
}

/// The hook that was there before ends the process, so the scripts are written before it runs.
fn write_when_it_fails() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        SEEN.with_borrow(|seen| write(seen));
        before(info);
    }));
}

fn write(scripts: &[Vec<u8>]) {
    let name = format!("several-{}", process::id());
    match fs::write(&name, join(scripts)) {
        Ok(()) => eprintln!("{} scripts that this gateway has seen are in the file {name}", scripts.len()),
        Err(why) => eprintln!("cannot write {name}: {why}"),
    }
}

fn join(scripts: &[Vec<u8>]) -> Vec<u8> {
    let each = scripts.iter().flat_map(|s| [&(s.len() as u32).to_be_bytes()[..], s].concat());
    SEVERAL.iter().copied().chain(each).collect()
}

fn split(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (script, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        bytes = rest;
        Some(script)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split_again() {
        let scripts = [vec![], vec![1, 2, 3], vec![7; 300]];
        let joined = join(&scripts);
        let again: Vec<_> = split(joined.strip_prefix(SEVERAL).unwrap()).map(<[u8]>::to_vec).collect();
        assert_eq!(again, scripts);
        assert_eq!(split(&[0, 0, 0, 9, 1]).count(), 0);
    }
}
