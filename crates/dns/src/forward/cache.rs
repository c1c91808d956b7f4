//! Answers of other servers, so many and no more: two generations, of which the older one goes when the younger is
//! full. What is asked for is moved to the younger one.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::forward::stored::Stored;

/// Longest answer that is kept.
const LONGEST: usize = 4096;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Name in lower case, type and class, as in a message.
    pub(crate) question: Box<[u8]>,
    /// The DO bit and the CD bit: with them, answers differ.
    pub(crate) flags: (bool, bool),
}

#[derive(Debug, Clone)]
struct Entry {
    stored: Arc<Stored>,
    came: Instant,
    until: Instant,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    most: usize,
    longest: Duration,
    generations: Mutex<[HashMap<Key, Entry>; 2]>,
}

impl Cache {
    /// At most `most` answers (none at 0), none for longer than `longest`.
    pub(crate) fn new(most: usize, longest: Duration) -> Cache {
        Cache { most, longest, generations: Mutex::default() }
    }

    /// The answer under `key`, and its age in seconds.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<(Arc<Stored>, u32)> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        let entry = match young.get(key) {
            Some(entry) => entry.clone(),
            None => {
                let entry = old.remove(key)?;
                young.insert(key.clone(), entry.clone());
                entry
            }
        };
        if entry.until <= now {
            young.remove(key);
            return None;
        }
        let age = now.saturating_duration_since(entry.came).as_secs();
        Some((entry.stored, u32::try_from(age).unwrap_or(u32::MAX)))
    }

    /// Keeps an answer for as long as it says, if it is worth it.
    pub(crate) fn put(&self, key: &Key, stored: &Arc<Stored>, now: Instant) {
        let lifetime = stored.lifetime.min(self.longest);
        if self.most == 0 || lifetime.is_zero() || stored.size() > LONGEST {
            return;
        }
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if young.len() >= self.most.div_ceil(2) {
            *old = take(young);
        }
        young.insert(key.clone(), Entry { stored: stored.clone(), came: now, until: now + lifetime });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::stored::tests::{END, answer};

    fn key(number: u32) -> Key {
        Key { question: number.to_be_bytes().into(), flags: (false, false) }
    }

    fn stored(ttl: u8) -> Arc<Stored> {
        let record = [&b"\xc0\x0c\0\x01\0\x01\0\0\0"[..], &[ttl], b"\0\x04\x0a\0\0\x01"].concat();
        Arc::new(Stored::read(&answer([0, 0], [1, 0, 0], &record), END).unwrap())
    }

    #[test]
    fn answers_end_with_their_time() {
        let (cache, now) = (Cache::new(10, Duration::from_secs(20)), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        cache.put(&key(1), &stored(10), now);
        assert_eq!(cache.get(&key(1), at(9)).unwrap().1, 9);
        assert!(cache.get(&key(1), at(10)).is_none());
        cache.put(&key(1), &stored(200), now);
        assert!(
            cache.get(&key(1), at(19)).is_some() && cache.get(&key(1), at(20)).is_none(),
            "our own limit"
        );
        cache.put(&key(2), &stored(0), now);
        assert!(cache.get(&key(2), now).is_none());
    }

    #[test]
    fn it_stays_as_large_as_it_may_be_and_keeps_what_is_used() {
        let (cache, now) = (Cache::new(10, Duration::from_secs(20)), Instant::now());
        for number in 0..1000 {
            cache.put(&key(number), &stored(10), now);
            assert!(number < 3 || cache.get(&key(3), now).is_some(), "{number}");
            assert!(cache.generations.lock().unwrap().iter().map(HashMap::len).sum::<usize>() <= 11);
        }
        let none = Cache::new(0, Duration::from_secs(20));
        none.put(&key(1), &stored(10), now);
        assert!(none.get(&key(1), now).is_none());
    }
}
