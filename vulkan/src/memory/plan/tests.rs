//! Plans against allocators that put things where they like.

use super::*;

/// A pseudo-random number below a bound.
fn generator(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// How an allocator chooses among all holes that are large enough.
#[derive(Clone, Copy, Debug)]
enum Choice {
    First,
    /// The smallest of the newest memory that has one, as `gpu-allocator`.
    BestOfLast,
    Any,
}

/// A memory's size, and `(at, size, owner)` of what is in it.
type Filled<'a> = (u64, &'a [(u64, u64, Option<u32>)]);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    size: u64,
    align: u64,
    /// Whose it is; what is nobody's may not be moved.
    owner: Option<u32>,
}

/// An allocator with memories by number, which gives back what is empty.
struct Model {
    choice: Choice,
    memories: BTreeMap<u64, (u64, BTreeMap<u64, Held>)>,
    next: u64,
    /// Bytes of a memory that is taken anew, where there is more.
    more: Option<u64>,
    /// Memories that were taken anew.
    taken: usize,
    random: Box<dyn FnMut(u64) -> u64>,
}

impl Model {
    fn new(choice: Choice, more: Option<u64>, seed: u64) -> Self {
        let random = Box::new(generator(seed));
        Self { choice, memories: BTreeMap::new(), next: 0, more, taken: 0, random }
    }

    fn of(choice: Choice, memories: &[Filled<'_>]) -> Self {
        let mut model = Self::new(choice, Some(1000), 1);
        for (size, held) in memories {
            let held = held.iter().map(|&(at, size, owner)| (at, Held { size, align: 1, owner }));
            model.memories.insert(model.next, (*size, held.collect()));
            model.next += 1;
        }
        model
    }

    /// Where `size` bytes would lie: memory, offset, and the bytes of the hole.
    fn holes(&self, size: u64, align: u64) -> Vec<(u64, u64, u64)> {
        let mut found = Vec::new();
        for (&memory, (end, held)) in &self.memories {
            let mut from = 0_u64;
            for (at, next) in held.iter().map(|(&at, held)| (at, at + held.size)).chain([(*end, *end)]) {
                let start = from.next_multiple_of(align);
                if start + size <= at {
                    found.push((memory, start, at - from));
                }
                from = next;
            }
        }
        found
    }

    fn lend(&mut self, size: u64, align: u64, owner: Option<u32>) -> Option<Piece> {
        let holes = self.holes(size, align);
        let chosen = match self.choice {
            Choice::First => holes.first(),
            Choice::BestOfLast => holes.iter().min_by_key(|hole| (std::cmp::Reverse(hole.0), hole.2)),
            Choice::Any if holes.is_empty() => None,
            Choice::Any => holes.get((self.random)(holes.len() as u64) as usize),
        };
        let (memory, at) = match chosen {
            Some(&(memory, at, _)) => (memory, at),
            None => {
                let bytes = self.more?.max(size);
                self.memories.insert(self.next, (bytes, BTreeMap::new()));
                self.next += 1;
                self.taken += 1;
                (self.next - 1, 0)
            }
        };
        self.memories.get_mut(&memory).unwrap().1.insert(at, Held { size, align, owner });
        Some(Piece { memory, at })
    }

    fn layouts(&self) -> Vec<Layout> {
        let layout = |(&memory, (size, held)): (&u64, &(u64, BTreeMap<u64, Held>))| {
            let lent = held.iter().map(|(&at, held)| {
                let (size, align) = (held.size, held.align);
                Lent { at, size, align, is_movable: held.owner.is_some() }
            });
            Layout { memory, size: *size, lent: lent.collect() }
        };
        self.memories.iter().map(layout).collect()
    }

    fn plan(&mut self) -> Vec<Move> {
        let layouts = self.layouts();
        plan(&layouts, self)
    }

    fn make(&mut self, moves: &[Move]) {
        for Move { from, to, .. } in moves {
            let held = self.memories[&from.memory].1[&from.at];
            self.memories.get_mut(&to.memory).unwrap().1.get_mut(&to.at).unwrap().owner = held.owner;
            self.give(*from);
        }
    }

    fn reserved(&self) -> u64 {
        self.memories.values().map(|(size, _)| size).sum()
    }

    fn held(&self) -> Vec<(u64, u64, Held)> {
        let held = self.memories.iter();
        held.flat_map(|(&m, (_, held))| held.iter().map(move |(&at, &held)| (m, at, held))).collect()
    }

    /// Whose bytes there are, wherever they lie.
    fn owners(&self) -> Vec<(Option<u32>, u64)> {
        let mut owners: Vec<_> = self.held().iter().map(|(.., held)| (held.owner, held.size)).collect();
        owners.sort_unstable();
        owners
    }
}

impl Lender for Model {
    fn ask(&mut self, size: u64, align: u64) -> Option<Piece> {
        self.lend(size, align, None)
    }

    fn give(&mut self, piece: Piece) {
        let (_, held) = self.memories.get_mut(&piece.memory).expect("it was lent");
        held.remove(&piece.at).expect("it was lent");
        if held.is_empty() {
            self.memories.remove(&piece.memory);
        }
    }
}

const CHOICES: [Choice; 3] = [Choice::First, Choice::BestOfLast, Choice::Any];

#[test]
fn the_emptiest_memory_goes_into_the_fullest() {
    for choice in CHOICES {
        let mut model = Model::of(
            choice,
            &[
                (100, &[(0, 60, Some(2))]),
                (100, &[(0, 70, Some(3))]),
                (100, &[(0, 10, Some(0)), (50, 10, Some(1))]),
            ],
        );
        let moves = model.plan();
        assert!(
            moves.iter().all(|made| made.from.memory == 2 && made.to.memory < 2),
            "{choice:?}: {moves:?}"
        );
        assert_eq!(moves.len(), 2);
        model.make(&moves);
        assert_eq!(model.reserved(), 200, "{choice:?}");
        assert_eq!(model.plan().len(), 0, "60 and 70 do not fit into one");
        assert_eq!(model.taken, 0, "nobody asks for what cannot be");
    }
}

#[test]
fn how_full_a_memory_is_counts_not_how_much_is_in_it() {
    for choice in CHOICES {
        let mut model = Model::of(choice, &[(1000, &[(0, 90, Some(1))]), (100, &[(0, 10, Some(0))])]);
        let moves = model.plan();
        assert!(moves.iter().all(|made| made.from.memory == 0), "{moves:?}");
        model.make(&moves);
        assert_eq!(model.reserved(), 100);
    }
}

#[test]
fn what_may_not_be_moved_stays() {
    for choice in CHOICES {
        let mut model = Model::of(
            choice,
            &[(100, &[(0, 50, Some(1))]), (100, &[(0, 10, Some(0)), (90, 10, None)]), (100, &[(0, 5, None)])],
        );
        let moves = model.plan();
        assert!(moves.iter().all(|made| made.from == Piece { memory: 1, at: 0 }), "{moves:?}");
        model.make(&moves);
        assert_eq!(model.held().iter().filter(|(.., held)| held.owner.is_none()).count(), 2);
        assert_eq!(model.owners().len(), 4);
    }
}

#[test]
fn what_is_last_goes_into_holes_before_it() {
    for choice in CHOICES {
        let mut model = Model::of(choice, &[(100, &[(10, 20, Some(0)), (40, 10, None), (80, 10, Some(1))])]);
        let mut plans = 0;
        loop {
            let moves = model.plan();
            if moves.is_empty() {
                break;
            }
            model.make(&moves);
            plans += 1;
        }
        assert!(plans <= 3, "{choice:?}");
        let end = model.held().iter().map(|(_, at, held)| at + held.size).max();
        assert!(end <= Some(70), "{choice:?}: {:?}", model.held());
    }
}

#[test]
fn an_empty_memory_takes_nothing_in() {
    for choice in CHOICES {
        let mut model = Model::of(choice, &[(100, &[]), (100, &[(0, 10, Some(0))]), (100, &[])]);
        assert_eq!(model.plan().len(), 0, "as much would be reserved afterwards");
    }
}

/// One that takes new memory though it has holes, and one that has nothing any more.
#[test]
fn an_allocator_of_another_mind_ends_the_plan() {
    struct Stubborn {
        new: bool,
        lent: Vec<Piece>,
        asked: u64,
    }
    impl Lender for Stubborn {
        fn ask(&mut self, _: u64, _: u64) -> Option<Piece> {
            self.asked += 1;
            let piece = Piece { memory: 100 + self.asked, at: 0 };
            self.new.then(|| self.lent.push(piece));
            self.new.then_some(piece)
        }
        fn give(&mut self, piece: Piece) {
            let at = self.lent.iter().position(|lent| *lent == piece).expect("it was lent");
            self.lent.swap_remove(at);
        }
    }
    let lent = |at| Lent { at, size: 10, align: 1, is_movable: true };
    let layouts = [
        Layout { memory: 0, size: 100, lent: (0..5).map(|i| lent(20 * i)).collect() },
        Layout { memory: 1, size: 100, lent: vec![lent(0)] },
    ];
    for new in [false, true] {
        let mut lender = Stubborn { new, lent: Vec::new(), asked: 0 };
        assert!(plan(&layouts, &mut lender).is_empty());
        assert_eq!((lender.asked, lender.lent.len()), (1, 0));
    }
}

#[test]
fn few_questions_find_the_way_past_a_large_hole() {
    // The allocator offers the large memory's end first, again and again.
    let mut model =
        Model::of(Choice::BestOfLast, &[(1000, &[(10, 960, None)]), (1_000_000, &[(0, 10, Some(0))])]);
    let (mut asked, layouts) = (0, model.layouts());
    struct Counting<'a>(&'a mut Model, &'a mut usize);
    impl Lender for Counting<'_> {
        fn ask(&mut self, size: u64, align: u64) -> Option<Piece> {
            *self.1 += 1;
            self.0.ask(size, align)
        }
        fn give(&mut self, piece: Piece) {
            self.0.give(piece);
        }
    }
    let moves = plan(&layouts, &mut Counting(&mut model, &mut asked));
    assert_eq!(moves.len(), 1);
    assert_eq!(asked, 3, "one that comes too late, the rest of its hole, and the one that is taken");
    assert_eq!(model.owners().len(), 3, "plugs are given back");
}

#[test]
fn random_plans_come_to_an_end_and_lose_nothing() {
    let mut random = generator(7);
    for round in 0..400 {
        let choice = CHOICES[round % 3];
        let more = (random(4) > 0).then(|| 100 + random(400));
        let mut model = Model::new(choice, Some(100 + random(400)), round as u64);
        let mut owner = 0;
        for _ in 0..random(250) {
            let (size, align) = (1 + random(60), 1 << random(4));
            owner += 1;
            model.lend(size, align, (random(20) > 0).then_some(owner));
            let held = model.held();
            if random(3) > 0 && !held.is_empty() {
                let (memory, at, _) = held[random(held.len() as u64) as usize];
                model.give(Piece { memory, at });
            }
        }
        model.more = more;
        let (owners, mut plans) = (model.owners(), 0);
        loop {
            let (reserved, before) = (model.reserved(), model.held());
            let moves = model.plan();
            let planned: Vec<_> = moves.iter().map(|made| (made.to.memory, made.to.at)).collect();
            let of_plan = |memory, at| planned.contains(&(memory, at));
            let mut others = model.held();
            others.retain(|&(memory, at, _)| !of_plan(memory, at));
            assert_eq!(others, before, "round {round}: nothing is lent but what is moved to");
            assert_eq!(model.reserved(), reserved, "round {round}: no new memory stays");
            if moves.is_empty() {
                break;
            }
            model.make(&moves);
            assert!(model.reserved() <= reserved);
            assert!(model.held().iter().all(|(_, at, held)| at % held.align == 0));
            plans += 1;
            assert!(plans < 100, "round {round} does not end");
        }
        assert_eq!(model.owners(), owners, "round {round}");
    }
}
