//! The ring: one owner, one or two thieves. Every task is taken exactly once, by somebody to whom its content is visible.
//!
//! Loom cannot show reads of values that are written later, so two orderings are proved by hand: see
//! `docs/memory-ordering.md`, "What loom cannot see".
#![cfg(upbeat_loom)]

use std::cell::RefCell;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;
use upbeat::model::{OwnerEnd, Ring, Taken};
use upbeat_loom_tests::{check, Datum, Tally};

/// What the ring's pointers point to. `content` is written by the owner just before the push.
struct Task {
    content: Datum,
    taken: Tally,
}

struct Tasks {
    counted: Vec<Task>,
    /// Fills places; how often it is taken says nothing.
    filler: Task,
}

impl Tasks {
    fn new(count: usize) -> Arc<Self> {
        let task = || Task { content: Datum::new(0), taken: Tally::new() };
        Arc::new(Self { counted: (0..count).map(|_| task()).collect(), filler: task() })
    }

    /// Takes the task that a steal returned, if it did, and says which one that was.
    fn stolen(&self, task: *mut Task) -> Option<usize> {
        let index = self.counted.iter().position(|known| std::ptr::eq(known, task))?;
        assert_eq!(self.counted[index].content.read(), index + 1, "the thief sees what the owner wrote");
        self.counted[index].taken.hit();
        Some(index)
    }

    fn assert_each_taken_once(&self) {
        for (index, task) in self.counted.iter().enumerate() {
            assert_eq!(task.taken.get(), 1, "task {index} is taken once");
        }
    }
}

/// The owner as joins use it: what was offered last is popped first.
struct Owner {
    end: OwnerEnd<Task>,
    tasks: Arc<Tasks>,
    /// The tasks offered and not yet popped; none for the filler.
    open: RefCell<Vec<Option<usize>>>,
}

impl Owner {
    fn new(ring: &Arc<Ring<Task>>, tasks: &Arc<Tasks>) -> Self {
        Self { end: OwnerEnd::new(ring.clone()), tasks: tasks.clone(), open: RefCell::default() }
    }

    /// Writes the contents of `tasks` and makes them public at once.
    fn offer(&self, tasks: &[Option<usize>]) {
        let prepare = |task: &Option<usize>| {
            let at = task.map_or(&self.tasks.filler, |index| &self.tasks.counted[index]);
            if let Some(index) = task {
                at.content.write(index + 1);
            }
            (&raw const *at).cast_mut()
        };
        self.end.offer(tasks.iter().map(prepare));
        self.open.borrow_mut().extend(tasks);
    }

    /// Takes the newest task if it is still there.
    fn pop(&self) -> Taken {
        let task = self.open.borrow_mut().pop().expect("something was offered");
        let at: *const Task = task.map_or(&self.tasks.filler, |index| &self.tasks.counted[index]);
        let taken = self.end.pop(at);
        if let (Taken::Back, Some(index)) = (taken, task) {
            self.tasks.counted[index].taken.hit();
        }
        taken
    }
}

/// A thread that steals `steals` times at most, and says what it got.
fn thief(ring: &Arc<Ring<Task>>, tasks: &Arc<Tasks>, steals: usize) -> thread::JoinHandle<Vec<usize>> {
    let (ring, tasks) = (ring.clone(), tasks.clone());
    thread::spawn(move || (0..steals).filter_map(|_| tasks.stolen(ring.steal())).collect())
}

// Faults 21 and 22.
#[test]
fn the_last_task_goes_to_the_owner_or_to_one_of_two_thieves() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(1));
        let owner = Owner::new(&ring, &tasks);
        let thieves = [thief(&ring, &tasks, 1), thief(&ring, &tasks, 1)];
        owner.offer(&[Some(0)]);
        let taken = owner.pop();
        let stolen: usize = thieves.into_iter().map(|thief| thief.join().unwrap().len()).sum();
        assert_eq!(stolen, usize::from(taken == Taken::Stolen));
        tasks.assert_each_taken_once();
        assert_eq!(ring.oldest(), None);
    });
}

// Faults 21 and 22.
#[test]
fn two_tasks_go_to_two_thieves_and_the_owner_once_each() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(2));
        let owner = Owner::new(&ring, &tasks);
        let thieves = [thief(&ring, &tasks, 1), thief(&ring, &tasks, 1)];
        owner.offer(&[Some(0), Some(1)]);
        owner.pop();
        owner.pop();
        for thief in thieves {
            thief.join().unwrap();
        }
        tasks.assert_each_taken_once();
    });
}

/// The thief may first see `bottom` after the owner lowered it: that store, too, must carry what came before.
#[test]
fn a_lowered_bottom_shows_the_tasks_that_stay_public() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(2));
        let owner = Owner::new(&ring, &tasks);
        let thief = thief(&ring, &tasks, 1);
        owner.offer(&[Some(0), Some(1)]);
        owner.pop();
        owner.pop();
        thief.join().unwrap();
        tasks.assert_each_taken_once();
    });
}

// Fault 23: with two slots, the third index reuses the first one's, while a thief may hold a steal.
#[test]
fn a_slot_that_was_reused_is_not_taken_for_the_old_task() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(3));
        let owner = Owner::new(&ring, &tasks);
        let thief = thief(&ring, &tasks, 2);
        owner.offer(&[Some(0)]);
        owner.pop();
        owner.offer(&[None]);
        owner.pop();
        owner.offer(&[Some(1), Some(2)]);
        owner.pop();
        owner.pop();
        thief.join().unwrap();
        tasks.assert_each_taken_once();
    });
}

// Fault 24.
#[test]
fn the_owner_offers_no_more_than_there_is_room_for() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(3));
        let owner = Owner::new(&ring, &tasks);
        let thief = thief(&ring, &tasks, 2);
        owner.offer(&[Some(0), Some(1)]);
        // Two slots: a third task has room only after a steal.
        if owner.end.room() > 0 {
            owner.offer(&[Some(2)]);
            owner.pop();
        } else {
            tasks.counted[2].taken.hit();
        }
        owner.pop();
        owner.pop();
        thief.join().unwrap();
        tasks.assert_each_taken_once();
    });
}

// Fault 17: a waiter takes only tasks of which it knows, while they lie in the ring, that they descend from its own.
#[test]
fn the_question_of_steal_if_holds_for_the_task_taken() {
    check(3, || {
        let (ring, tasks) = (Arc::new(Ring::new()), Tasks::new(2));
        let owner = Owner::new(&ring, &tasks);
        let turn = Arc::new(AtomicUsize::new(0));
        let thief = {
            let (ring, tasks, turn) = (ring.clone(), tasks.clone(), turn.clone());
            thread::spawn(move || tasks.stolen(ring.steal_if(|| turn.load(Relaxed) == 0)))
        };
        owner.offer(&[Some(0)]);
        owner.pop();
        turn.store(1, Relaxed);
        owner.offer(&[Some(1)]);
        owner.pop();
        assert_ne!(thief.join().unwrap(), Some(1), "task 1 came when the answer was no");
        tasks.assert_each_taken_once();
    });
}

/// A request is seen by the answer that it comes before, or still stands for the next one.
#[test]
fn a_request_is_not_lost() {
    check(3, || {
        let ring = Arc::new(Ring::<Task>::new());
        let asker = {
            let ring = ring.clone();
            thread::spawn(move || ring.ask())
        };
        let answered = ring.is_asked();
        if answered {
            ring.begin_answer();
        }
        asker.join().unwrap();
        assert_ne!(answered, ring.is_asked());
    });
}
