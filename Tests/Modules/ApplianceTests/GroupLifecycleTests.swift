import Testing

@testable import Appliance

/// Proves, over every state that a group can come to, that a reset has the journal for itself, that
/// nothing runs once all is written down, that a course which may go on does, and that it is told
/// of each step once.
@Suite struct GroupLifecycleTests {
  typealias Job = GroupLifecycle.Job

  /// Placing and sidecars have the row that merging has.
  private static let jobs = Job.allCases.filter { $0 != .placing && $0 != .sidecar }

  private static let allFacts: [GroupLifecycle.Facts] = (0..<16).map { bits in
    .init(
      hasViews: bits & 1 != 0, clientsRest: bits & 2 == 0, isDurable: bits & 4 == 0,
      hasWaits: bits & 8 != 0)
  }

  /// All that can happen next.
  private static func successors(of state: GroupLifecycle) -> [GroupLifecycle] {
    var all: [GroupLifecycle] = []
    func add(_ change: (inout GroupLifecycle) -> Void) {
      var next = state
      change(&next)
      if next != state { all.append(next) }
    }
    for job in jobs {
      if state.mayBegin(job), !state.runs(job) { add { _ = $0.begin(job) } }
      if state.runs(job) { add { $0.ended(job) } }
    }
    add { $0.awaitReset(true) }
    add { $0.awaitReset(false) }
    add { _ = $0.failed("a reason") }
    add { $0.stop() }
    if state.end == .stopping { add { $0.drain() } }
    if state.handover == .none { add { $0.settle() } }
    if state.handover == .settled { add { $0.pause() } }
    if state.handover == .closing { add { $0.paused() } }
    add { $0.keep() }
    for facts in allFacts {
      add { next in if next.next(facts) == .drain { next.drained() } }
    }
    return all
  }

  private static let states: Set<GroupLifecycle> = {
    var found: Set = [GroupLifecycle()]
    var open = [GroupLifecycle()]
    while let state = open.popLast() {
      for next in successors(of: state) where found.insert(next).inserted { open.append(next) }
    }
    return found
  }()

  @Test func everyCombinationOfCoursesIsMet() {
    for handover in GroupLifecycle.Handover.allCases {
      for end in GroupLifecycle.End.allCases {
        let isMet = Self.states.contains { $0.handover == handover && $0.end == end }
        #expect(isMet, "\(handover), \(end)")
      }
    }
  }

  @Test func aResetHasTheJournalForItself() {
    for state in Self.states where state.runs(.reset) {
      let users = Job.allCases.filter {
        $0 != .reset && $0 != .durabilityNote && state.runs($0)
      }
      if !users.isEmpty { Issue.record("\(users) beside a reset: \(state)") }
      for job in Job.allCases where state.mayBegin(job) {
        Issue.record("\(job) may begin beside a reset: \(state)")
      }
    }
  }

  @Test func nothingRunsOnceAllIsWrittenDown() {
    for state in Self.states where state.handover == .closing || state.handover == .paused {
      // The note of what is durable is the keeper's, as the writing is.
      let jobs = Job.allCases.filter { $0 != .durabilityNote && state.runs($0) }
      if !jobs.isEmpty { Issue.record("\(jobs) run: \(state)") }
    }
    for state in Self.states where state.end == .ended {
      for job in [Job.apply, .sync, .reset] where state.runs(job) {
        Issue.record("\(job) runs: \(state)")
      }
    }
  }

  @Test func whatHasFailedBeginsNothing() {
    for state in Self.states where state.failure != nil {
      for job in Job.allCases where job != .reset && state.mayBegin(job) {
        Issue.record("\(job) may begin: \(state)")
      }
    }
  }

  @Test func aCourseGoesOnWhenNothingIsInItsWay() {
    for state in Self.states {
      var calm = state
      for job in Job.allCases where calm.runs(job) { calm.ended(job) }
      let step = calm.next(.init())
      if let expected = Self.expected(state) {
        if step != expected { Issue.record("\(String(describing: step)) of \(state)") }
      } else if let step {
        Issue.record("\(step) of \(state)")
      }
    }
  }

  private static func expected(_ state: GroupLifecycle) -> GroupLifecycle.Step? {
    if state.awaitsReset, state.failure == nil, !state.isStopping, !state.isPausing {
      return .reset
    }
    switch state.handover {
    case .settling: return .settled
    case .pausing: return .closeState
    case .none, .settled, .closing, .paused: return state.end == .draining ? .drain : nil
    }
  }

  /// Else it could wait for ever: there is always something to do.
  @Test func whatACourseWaitsForDoesNotBeginAgain() {
    for state in Self.states {
      var mayBegin = Set(Job.allCases)
      if state.awaitsReset { mayBegin.formIntersection([.sync, .durabilityNote]) }
      if state.isSettling { mayBegin.subtract([.apply, .placing, .sidecar, .merging]) }
      if state.isPausing { mayBegin.formIntersection([.sync]) }
      if state.end == .ended { mayBegin.removeAll() }
      for job in Job.allCases where job != .reset && state.mayBegin(job) {
        if !mayBegin.contains(job) { Issue.record("\(job) may begin: \(state)") }
      }
    }
  }

  /// `sync` and `drain` are asked for again until they have done something.
  @Test func aStepIsToldOfOnce() {
    for state in Self.states {
      for facts in Self.allFacts {
        var next = state
        guard let step = next.next(facts), step != .sync, step != .drain else { continue }
        if next.next(facts) == step { Issue.record("\(step) twice: \(state)") }
      }
    }
  }

  @Test func whoWaitsIsAsked() {
    for state in Self.states where !state.isWaiting {
      for facts in Self.allFacts {
        var next = state
        if let step = next.next(facts) { Issue.record("\(step) of \(state)") }
      }
    }
  }

  @Test func severalPromisesEndOneByOne() {
    var state = GroupLifecycle()
    #expect(state.begin(.promise) && state.begin(.promise))
    state.ended(.promise)
    #expect(state.runs(.promise))
    state.ended(.promise)
    #expect(!state.runs(.promise))
  }

  /// What is looked at before a job begins may fail the group.
  @Test func whatMightHaveBegunDoesNotOnceTheGroupHasFailed() {
    var state = GroupLifecycle()
    #expect(state.mayBegin(.apply))
    state.failed("a reason")
    #expect(!state.begin(.apply) && !state.runs(.apply))
  }
}
