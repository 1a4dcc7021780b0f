//! A Fibonacci heap: a priority queue whose keys may fall in constant time, with handles to what is inside.
//!
//! After M. L. Fredman and R. E. Tarjan, "Fibonacci heaps and their uses in improved network optimization
//! algorithms", Journal of the ACM 34(3), 1987. Nodes live in one arena and name each other by `u32`; the roots are a
//! plain vector, the children of a node a doubly linked list. No operation allocates, beyond the amortised growth of
//! those two vectors, and none recurses: a cascade of cuts is a loop, however deep.
//!
//! | operation | amortised cost |
//! |---|---|
//! | `insert`, `peek`, `decrease_key` | O(1) |
//! | `delete` of any element but the least | O(1 + children of its node): below 2 on average over all elements, at most O(log n) |
//! | `pop`, `delete` of the least | O(log n) |
//! | `merge` | O(slots of the absorbed heap), which is no more than its insertions cost |
//! | `compact`, `map_keys` | O(slots) |
//!
//! What it does not do: it holds no domain words, finds no element but by its handle, has no iterator (there is no
//! order to iterate in), and does not keep equal keys in order of insertion. Whoever needs that puts a sequence
//! number into the key, as `queue` does.
//!
//! Invariants: no node's key is less than its parent's; `least` is a root with a least key; a node that is not a root
//! loses at most one child, so that degrees stay below 1.45 log2 n; a handle never names another element than the one
//! it was issued for.
//!
//! Memory: a freed slot is used again before the arena grows, so the arena holds as many slots as there were elements
//! at the busiest moment since the last [`FibonacciHeap::compact`]. Nodes cannot move behind the back of a handle;
//! giving memory back is therefore asked for, and pays once [`FibonacciHeap::is_sparse`].

mod compaction;

use std::hint::select_unpredictable;
use std::mem::size_of;

/// No node: the end of a list, or the parent of a root.
const NONE: u32 = u32::MAX;

/// Generation of a slot that was used 2^32 − 1 times. It is never used again, because its handles have run out.
const RETIRED: u32 = u32::MAX;

/// More than any degree: with 2^32 nodes a degree is at most 46. Degrees are taken modulo this only to show the
/// compiler that they are within bounds.
const DEGREES: usize = 64;

/// Names one element of one heap for as long as it is inside. Once the element has left, the handle is *stale* and
/// names nothing, though its slot may be in use again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    index: u32,
    generation: u32,
}

impl Handle {
    /// Position of the element in the arena: below [`FibonacciHeap::slots`], unique among the elements inside, used
    /// again after the element has left. A vector indexed by it is a side table for what does not fit the node.
    pub fn slot(self) -> usize {
        self.index as usize
    }
}

/// Why a key was not decreased. The heap is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecreaseKeyError {
    /// The element has left the heap.
    #[error("the handle is stale: its element has left the heap; insert it anew")]
    Stale,
    /// The new key is greater than the present one.
    #[error("the new key is greater than the present one; delete the element and insert it anew")]
    Greater,
}

/// Translates handles of an absorbed heap into handles of the heap that absorbed it. Returned by
/// [`FibonacciHeap::merge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "handles of the absorbed heap name nothing until they are translated"]
pub struct Translation {
    offset: u32,
}

impl Translation {
    /// The handle under which the absorbing heap knows the element. What was stale stays stale.
    pub fn translate(self, handle: Handle) -> Handle {
        Handle { index: handle.index.saturating_add(self.offset), generation: handle.generation }
    }

    /// The position that [`Handle::slot`] of the absorbed heap's slot 0 has now; the others follow in order.
    pub fn slot_offset(self) -> usize {
        self.offset as usize
    }
}

/// One slot of the arena. Vacant slots have no value; their right link is the free list.
#[derive(Debug, Clone)]
struct Node<K, V> {
    key: K,
    parent: u32,
    /// The sibling before, or [`NONE`] for a first child. In a root: its position in `roots`.
    left: u32,
    /// The sibling after, or [`NONE`] for a last child.
    right: u32,
    /// The first child.
    child: u32,
    generation: u32,
    value: Option<V>,
    degree: u8,
    /// Not a root, and has lost a child since it got its parent.
    marked: bool,
}

/// A min-heap of elements `V` under keys `K`, with handles. See the module's documentation for costs.
///
/// A key is at most 16 bytes and lies in the node: together with a `u32` as the value a node has 48 bytes. What is
/// greater belongs into a side table, see [`Handle::slot`]. Keys that compare without branches, as `u128` does and a
/// tuple does not, make `pop` a tenth faster.
///
/// ```
/// use wfengine_core::fibonacci_heap::FibonacciHeap;
///
/// let mut heap = FibonacciHeap::new();
/// let late = heap.insert(30, "late");
/// heap.insert(20, "early");
/// heap.decrease_key(late, 10)?;
/// assert_eq!(heap.pop().map(|(_, key, value)| (key, value)), Some((10, "late")));
/// assert_eq!(heap.key(late), None, "a stale handle names nothing");
/// # Ok::<(), wfengine_core::fibonacci_heap::DecreaseKeyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FibonacciHeap<K, V> {
    nodes: Vec<Node<K, V>>,
    roots: Vec<u32>,
    least: u32,
    free: u32,
    len: u32,
    /// Elements that left since the last compaction.
    left_since_compaction: u64,
    /// Slots at and above `nodes.len()` that existed once lie below this. Their handles have generations below
    /// `first_generation`, which is where new slots begin.
    slots_ever: u32,
    first_generation: u32,
}

impl<K: Ord + Copy, V> Default for FibonacciHeap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Copy, V> FibonacciHeap<K, V> {
    /// An empty heap. Does not allocate. A key type of more than 16 bytes does not compile.
    pub fn new() -> Self {
        const { assert!(size_of::<K>() <= 16, "keys of a FibonacciHeap are at most 16 bytes") };
        Self {
            nodes: Vec::new(),
            roots: Vec::new(),
            least: NONE,
            free: NONE,
            len: 0,
            left_since_compaction: 0,
            slots_ever: 0,
            first_generation: 0,
        }
    }

    /// Number of elements inside.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether no element is inside.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of slots in the arena, vacant ones included: what [`Handle::slot`] stays below.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes held on the allocator's heap, spare capacity included.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<K, V>>() + self.roots.capacity() * size_of::<u32>()
    }

    /// Adds an element. O(1).
    ///
    /// # Panics
    ///
    /// When 2^32 − 1 slots are in use, which is 200 GB of nodes; the caller bounds its elements long before.
    pub fn insert(&mut self, key: K, value: V) -> Handle {
        let index = if self.free == NONE { self.grow(key) } else { self.free };
        let node = &mut self.nodes[index as usize];
        self.free = node.right;
        node.key = key;
        node.value = Some(value);
        node.child = NONE;
        node.degree = 0;
        let handle = Handle { index, generation: node.generation };
        self.len += 1;
        self.add_root(index);
        self.note_root(index);
        handle
    }

    /// The least element: its handle, key and value. O(1).
    pub fn peek(&self) -> Option<(Handle, &K, &V)> {
        let node = self.nodes.get(self.least as usize)?;
        let value = node.value.as_ref()?;
        Some((Handle { index: self.least, generation: node.generation }, &node.key, value))
    }

    /// Takes the least element out; of several with equal keys, any. The handle returned is the one that was issued
    /// for it and is stale. O(log n) amortised.
    pub fn pop(&mut self) -> Option<(Handle, K, V)> {
        let index = self.least;
        if index == NONE {
            return None;
        }
        self.consolidate_without(index);
        self.vacate(index)
    }

    /// The key of an element, or `None` for a stale handle. O(1).
    pub fn key(&self, handle: Handle) -> Option<&K> {
        self.node(handle).map(|node| &node.key)
    }

    /// The value of an element, or `None` for a stale handle. O(1).
    pub fn value(&self, handle: Handle) -> Option<&V> {
        self.node(handle).and_then(|node| node.value.as_ref())
    }

    /// Whether the element is still inside. O(1).
    pub fn contains(&self, handle: Handle) -> bool {
        self.node(handle).is_some()
    }

    /// Gives an element a key that is less than or equal to its present one. O(1) amortised.
    ///
    /// # Errors
    ///
    /// The handle is stale, or the new key is greater; nothing has changed then.
    pub fn decrease_key(&mut self, handle: Handle, key: K) -> Result<(), DecreaseKeyError> {
        let present = *self.key(handle).ok_or(DecreaseKeyError::Stale)?;
        if key > present {
            return Err(DecreaseKeyError::Greater);
        }
        let node = &mut self.nodes[handle.slot()];
        node.key = key;
        let parent = node.parent;
        if parent != NONE {
            if self.nodes[parent as usize].key <= key {
                return Ok(());
            }
            self.cut(handle.index);
        }
        self.note_root(handle.index);
        Ok(())
    }

    /// Takes an element out, wherever it is, or returns `None` for a stale handle. Its children become roots and are
    /// joined at the next `pop`. See the module's documentation for the cost.
    pub fn delete(&mut self, handle: Handle) -> Option<(K, V)> {
        self.node(handle)?;
        if handle.index == self.least {
            return self.pop().map(|(_, key, value)| (key, value));
        }
        if self.nodes[handle.slot()].parent != NONE {
            self.cut(handle.index);
        }
        let position = self.nodes[handle.slot()].left;
        self.roots.swap_remove(position as usize);
        if let Some(&moved) = self.roots.get(position as usize) {
            self.nodes[moved as usize].left = position;
        }
        let mut child = self.nodes[handle.slot()].child;
        while child != NONE {
            let next = self.nodes[child as usize].right;
            self.add_root(child);
            child = next;
        }
        self.vacate(handle.index).map(|(_, key, value)| (key, value))
    }

    /// Absorbs another heap. Handles of this heap stay as they are; those of the other are valid again once put
    /// through the [`Translation`]. O(slots of the other heap): its nodes are copied behind ours.
    ///
    /// # Panics
    ///
    /// When both together have 2^32 − 1 slots, see [`Self::insert`].
    pub fn merge(&mut self, other: Self) -> Translation {
        // Slots that a compaction cut off may be named by stale handles of ours: absorbed nodes go behind them.
        while self.nodes.len() < self.slots_ever as usize
            && let Some(any) = other.nodes.first()
        {
            let index = self.grow(any.key);
            self.free = index;
        }
        let offset = self.nodes.len() as u32;
        let slots = self.nodes.len() + other.nodes.len().max(other.slots_ever as usize);
        assert!(
            slots < NONE as usize,
            "BUG: a heap of {slots} slots was asked for; at most 2^32 - 2 are possible"
        );
        let shift = |link: u32| if link == NONE { NONE } else { link + offset };

        let mut free = self.free;
        self.nodes.extend(other.nodes.into_iter().zip(offset..).map(|(mut node, index)| {
            node.parent = shift(node.parent);
            node.left = shift(node.left);
            node.right = shift(node.right);
            node.child = shift(node.child);
            if node.value.is_none() && node.generation != RETIRED {
                node.right = free;
                free = index;
            }
            node
        }));
        self.free = free;
        for &root in &other.roots {
            self.add_root(root + offset);
        }
        if other.least != NONE {
            self.note_root(other.least + offset);
        }
        self.len += other.len;
        self.left_since_compaction += other.left_since_compaction;
        self.slots_ever = self.slots_ever.max(slots as u32);
        self.first_generation = self.first_generation.max(other.first_generation);
        Translation { offset }
    }

    /// Replaces every key by `f(key)`. `f` keeps the order: `a <= b` means `f(a) <= f(b)`; with any other the order of
    /// what is popped afterwards is unspecified. O(slots).
    pub fn map_keys(&mut self, mut f: impl FnMut(K) -> K) {
        for node in &mut self.nodes {
            if node.value.is_some() {
                node.key = f(node.key);
            }
        }
    }

    fn node(&self, handle: Handle) -> Option<&Node<K, V>> {
        self.nodes
            .get(handle.slot())
            .filter(|node| node.generation == handle.generation && node.value.is_some())
    }

    /// Appends a vacant slot whose successor in the free list is the present one. `key` only fills it.
    fn grow(&mut self, key: K) -> u32 {
        let index = self.nodes.len();
        assert!(index < NONE as usize - 1, "BUG: a heap holds at most 2^32 - 2 slots");
        self.nodes.push(Node {
            key,
            parent: NONE,
            left: NONE,
            right: self.free,
            child: NONE,
            generation: self.first_generation,
            value: None,
            degree: 0,
            marked: false,
        });
        self.slots_ever = self.slots_ever.max(index as u32 + 1);
        index as u32
    }

    fn add_root(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        node.parent = NONE;
        node.left = self.roots.len() as u32;
        node.right = NONE;
        node.marked = false;
        self.roots.push(index);
    }

    /// Makes a root the least if it is.
    fn note_root(&mut self, index: u32) {
        if self.least == NONE || self.nodes[index as usize].key < self.nodes[self.least as usize].key {
            self.least = index;
        }
    }

    /// Takes a node that is already out of every list out of the arena.
    fn vacate(&mut self, index: u32) -> Option<(Handle, K, V)> {
        let node = &mut self.nodes[index as usize];
        let handle = Handle { index, generation: node.generation };
        let left = (handle, node.key, node.value.take()?);
        node.generation += 1;
        if node.generation != RETIRED {
            node.right = self.free;
            self.free = index;
        }
        self.len -= 1;
        self.left_since_compaction += 1;
        Some(left)
    }

    /// Makes a child a root, and then its parent too if this was the second child it lost, and so on upwards.
    fn cut(&mut self, index: u32) {
        let mut index = index;
        loop {
            let Node { parent, left, right, .. } = self.nodes[index as usize];
            if left == NONE {
                self.nodes[parent as usize].child = right;
            } else {
                self.nodes[left as usize].right = right;
            }
            if right != NONE {
                self.nodes[right as usize].left = left;
            }
            self.add_root(index);
            let above = &mut self.nodes[parent as usize];
            above.degree -= 1;
            // A root is never marked.
            let second_loss = above.marked;
            above.marked = above.parent != NONE;
            if !second_loss {
                return;
            }
            index = parent;
        }
    }

    /// Takes the root `gone` away, makes its children roots, and joins roots of equal degree until all differ.
    fn consolidate_without(&mut self, gone: u32) {
        let nodes = self.nodes.as_mut_slice();
        let mut trees = Trees { of_degree: [NONE; DEGREES], occupied: 0 };
        for &root in &self.roots {
            if root != gone {
                trees.add(nodes, root);
            }
        }
        let mut child = nodes[gone as usize].child;
        while child != NONE {
            let next = nodes[child as usize].right;
            trees.add(nodes, child);
            child = next;
        }
        self.roots.clear();
        self.least = NONE;
        while trees.occupied != 0 {
            let degree = trees.occupied.trailing_zeros() as usize;
            trees.occupied &= trees.occupied - 1;
            let root = trees.of_degree[degree];
            self.add_root(root);
            self.note_root(root);
        }
    }
}

/// Trees by degree, at most one of each, while roots are joined.
struct Trees {
    of_degree: [u32; DEGREES],
    /// Bit d: there is a tree of degree d.
    occupied: u64,
}

impl Trees {
    fn add<K: Ord + Copy, V>(&mut self, nodes: &mut [Node<K, V>], root: u32) {
        let mut root = root;
        let mut key = nodes[root as usize].key;
        let mut degree = usize::from(nodes[root as usize].degree) % DEGREES;
        while self.occupied & (1 << degree) != 0 {
            let other = self.of_degree[degree];
            let other_key = nodes[other as usize].key;
            // A coin toss to the processor; a wrong guess would cost more than both selections.
            let swap = other_key < key;
            let above = select_unpredictable(swap, other, root);
            link(nodes, select_unpredictable(swap, root, other), above);
            (root, key) = (above, select_unpredictable(swap, other_key, key));
            self.occupied &= !(1 << degree);
            degree = (degree + 1) % DEGREES;
        }
        self.of_degree[degree] = root;
        self.occupied |= 1 << degree;
    }
}

/// Makes `below` the first child of `above`.
fn link<K, V>(nodes: &mut [Node<K, V>], below: u32, above: u32) {
    let parent = &mut nodes[above as usize];
    let second = parent.child;
    parent.child = below;
    parent.degree += 1;
    let node = &mut nodes[below as usize];
    node.parent = above;
    node.left = NONE;
    node.right = second;
    node.marked = false;
    if second != NONE {
        nodes[second as usize].left = below;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(heap: &mut FibonacciHeap<u64, u32>) -> Vec<u64> {
        std::iter::from_fn(|| heap.pop().map(|(_, key, _)| key)).collect()
    }

    fn is_send<T: Send>(_: &T) {}

    #[test]
    fn a_node_with_a_key_of_16_bytes_and_a_small_value_has_48_bytes() {
        assert_eq!(size_of::<Node<u128, u32>>(), 48);
        assert_eq!(size_of::<Node<(u64, u64), u32>>(), 48);
        assert_eq!(size_of::<Node<(u64, u64), ()>>(), 40);
        is_send(&FibonacciHeap::<u64, u32>::new());
    }

    #[test]
    fn elements_leave_in_order_of_their_keys() {
        let mut heap = FibonacciHeap::new();
        for key in [5, 3, 8, 1, 9, 2, 7] {
            heap.insert(key, 0);
        }
        assert_eq!(heap.peek().map(|(_, &key, _)| key), Some(1));
        assert_eq!(drain(&mut heap), [1, 2, 3, 5, 7, 8, 9]);
        assert!(heap.is_empty() && heap.peek().is_none() && heap.pop().is_none());
    }

    #[test]
    fn a_stale_handle_names_nothing_even_when_its_slot_is_in_use_again() {
        let mut heap = FibonacciHeap::new();
        let gone = heap.insert(1_u64, 1_u32);
        assert_eq!(heap.delete(gone), Some((1, 1)));
        let next = heap.insert(2, 2);
        assert_eq!(next.slot(), gone.slot());
        assert_eq!(heap.delete(gone), None);
        assert_eq!(heap.decrease_key(gone, 0), Err(DecreaseKeyError::Stale));
        assert_eq!((heap.key(gone), heap.value(gone), heap.contains(gone)), (None, None, false));
        assert_eq!((heap.key(next), heap.value(next), heap.contains(next)), (Some(&2), Some(&2), true));
    }

    #[test]
    fn a_key_is_never_increased() {
        let mut heap = FibonacciHeap::new();
        let handle = heap.insert(5_u64, 0_u32);
        assert_eq!(heap.decrease_key(handle, 6), Err(DecreaseKeyError::Greater));
        assert_eq!(heap.decrease_key(handle, 5), Ok(()));
        assert_eq!(heap.key(handle), Some(&5));
    }

    #[test]
    fn a_cascade_of_a_hundred_thousand_cuts_is_a_loop() {
        // Each round hangs the chain, a root of degree 2 (the chain so far and a leaf), below a new root of degree 2;
        // deletes one of that root's former subtrees, so that it again has the chain and a leaf; and then deletes
        // the leaf of the root below, which marks it.
        let rounds = 100_000;
        let mut heap = FibonacciHeap::new();
        let mut key = 10_000_000_u64;
        let mut leaf = None;
        let deepest = heap.insert(key, 0_u32);
        for _ in 0..rounds {
            key -= 10;
            let [_, kept, second, third] = [1, 2, 3, 4].map(|rank| heap.insert(key + rank, 0));
            heap.insert(key, 0);
            heap.pop();
            heap.delete(third);
            heap.delete(second);
            if let Some(leaf) = leaf.replace(kept) {
                heap.delete(leaf);
            }
        }
        assert!(heap.roots.len() < 10, "the chain is one tree");
        heap.decrease_key(deepest, 0).unwrap();
        assert!(heap.roots.len() > rounds - 10, "the cut has cascaded through the chain");
        assert_eq!(drain(&mut heap).len(), rounds + 2);
    }
}
