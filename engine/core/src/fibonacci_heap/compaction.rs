//! Giving memory back: elements move from the highest slots of the arena into vacant ones below.
//!
//! It never happens by itself, because a moved element has a new handle and the caller has to learn of it.
//!
//! Invariants: a slot's generation never goes back, not even when the slot is cut off and comes again; a slot whose
//! generations are used up stays where it is, vacant, and so does what lies below it.

use super::{FibonacciHeap, Handle, NONE, Node, RETIRED};

/// Below this many slots giving memory back is not worth the walk.
const SPARSE_SLOTS_MIN: usize = 1024;

impl<K: Ord + Copy, V> FibonacciHeap<K, V> {
    /// Whether [`Self::compact`] would give back three quarters of the arena and at least half of it was vacated
    /// since the last time: compacting whenever this holds adds O(1) amortised to each element that leaves.
    pub fn is_sparse(&self) -> bool {
        self.nodes.len() > SPARSE_SLOTS_MIN
            && self.nodes.len() / 4 > self.len()
            && self.left_since_compaction > (self.nodes.len() / 2) as u64
    }

    /// Moves the elements in the highest slots into the vacant ones below and gives the rest of the memory back.
    /// `moved` is told of every element that moved, by its former and its new handle; the former is stale. O(slots).
    pub fn compact(&mut self, mut moved: impl FnMut(Handle, Handle)) {
        let mut vacant = 0;
        while let Some(last) = self.nodes.last() {
            let from = self.nodes.len() - 1;
            if last.generation == RETIRED {
                break;
            }
            if last.value.is_some() {
                while vacant < from && !self.is_vacant(vacant) {
                    vacant += 1;
                }
                if vacant == from {
                    break;
                }
                let (old, new) = self.relocate(from, vacant);
                moved(old, new);
            }
            // A relocation may have used the slot up; then it stays where it is.
            if self.nodes[from].generation == RETIRED {
                break;
            }
            self.first_generation = self.first_generation.max(self.nodes[from].generation);
            self.nodes.pop();
        }
        self.free = NONE;
        for index in (0..self.nodes.len()).rev() {
            if self.is_vacant(index) {
                self.nodes[index].right = self.free;
                self.free = index as u32;
            }
        }
        self.left_since_compaction = 0;
        self.nodes.shrink_to_fit();
        self.roots.shrink_to_fit();
    }

    fn is_vacant(&self, index: usize) -> bool {
        self.nodes[index].value.is_none() && self.nodes[index].generation != RETIRED
    }

    /// Moves the element of slot `from` into the vacant slot `to`, and turns every link to it.
    fn relocate(&mut self, from: usize, to: usize) -> (Handle, Handle) {
        let (here, there) = (from as u32, to as u32);
        let old = Handle { index: here, generation: self.nodes[from].generation };
        self.nodes.swap(from, to);
        // The generation belongs to the slot, not to what lies in it.
        let generation = self.nodes[from].generation;
        let new = Handle { index: there, generation };
        self.nodes[to].generation = generation;
        self.nodes[from].generation = old.generation + 1;

        let Node { parent, left, right, child, .. } = self.nodes[to];
        if parent == NONE {
            self.roots[left as usize] = there;
        } else if left == NONE {
            self.nodes[parent as usize].child = there;
        } else {
            self.nodes[left as usize].right = there;
        }
        if right != NONE {
            self.nodes[right as usize].left = there;
        }
        let mut child = child;
        while child != NONE {
            self.nodes[child as usize].parent = there;
            child = self.nodes[child as usize].right;
        }
        if self.least == here {
            self.least = there;
        }
        (old, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(heap: &mut FibonacciHeap<u64, u32>) -> Vec<u64> {
        std::iter::from_fn(|| heap.pop().map(|(_, key, _)| key)).collect()
    }

    #[test]
    fn a_slot_whose_generations_are_used_up_is_never_used_again() {
        let mut heap = FibonacciHeap::new();
        let first = heap.insert(1_u64, 0_u32);
        heap.pop();
        heap.nodes[first.slot()].generation = RETIRED - 1;
        let last = heap.insert(2, 0);
        assert_eq!((last.slot(), last.generation), (first.slot(), RETIRED - 1));
        heap.pop();
        let next = heap.insert(3, 0);
        assert_ne!(next.slot(), first.slot());
        heap.compact(|_, _| {});
        let mut other = FibonacciHeap::new();
        let translation = other.merge(heap);
        assert_eq!(other.key(translation.translate(next)), Some(&3));
        let fresh = other.insert(4, 0);
        assert_ne!(fresh.slot(), translation.slot_offset() + first.slot());
        assert_eq!(other.key(translation.translate(last)), None);
        assert_eq!(drain(&mut other), [3, 4]);
    }

    #[test]
    fn compacting_gives_memory_back_and_reports_every_new_handle() {
        let mut heap = FibonacciHeap::new();
        let mut handles: Vec<Handle> = (0..10_000_u64).map(|key| heap.insert(key, key as u32)).collect();
        heap.pop();
        let stale = handles[5_000];
        for (value, &handle) in handles.iter().enumerate() {
            if value % 10 != 9 {
                heap.delete(handle);
            }
        }
        assert!(heap.is_sparse());
        let before = heap.memory_bytes();
        let values: Vec<Option<u32>> = handles.iter().map(|&handle| heap.value(handle).copied()).collect();
        let mut moves = Vec::new();
        heap.compact(|old, new| moves.push((old, new)));
        assert_eq!((heap.slots(), heap.len()), (1_000, 1_000));
        assert!(heap.memory_bytes() * 9 < before);
        assert!(!heap.is_sparse());
        for (old, new) in moves {
            assert!(!heap.contains(old));
            let at = handles.iter().position(|&handle| handle == old).unwrap();
            handles[at] = new;
        }
        for (&handle, value) in handles.iter().zip(values) {
            assert_eq!(heap.value(handle).copied(), value);
        }
        for key in 10_000..20_000 {
            heap.insert(key, 0);
        }
        assert!(!heap.contains(stale), "a slot that was cut off comes back with new generations");
        let expected: Vec<u64> = (0..10_000).filter(|key| key % 10 == 9).chain(10_000..20_000).collect();
        assert_eq!(drain(&mut heap), expected);
    }

    #[test]
    fn merging_after_a_compaction_revives_no_stale_handle() {
        let mut heap = FibonacciHeap::new();
        let ours: Vec<Handle> = (0..8_u64).map(|key| heap.insert(key, 0_u32)).collect();
        while heap.pop().is_some() {}
        heap.compact(|_, _| {});
        assert_eq!((heap.slots(), heap.memory_bytes()), (0, 0));
        let mut other = FibonacciHeap::new();
        let theirs = other.insert(7, 7);
        let translation = heap.merge(other);
        assert!(ours.iter().all(|&handle| !heap.contains(handle)));
        assert_eq!(heap.value(translation.translate(theirs)), Some(&7));
        assert_eq!(heap.len(), 1);
    }
}
