import SystemIO

/// In some worlds disks come to the groups and leave them, each by a restart of a site with another
/// list: at the two sites at different times. Drawn apart, so that all other worlds stay as they
/// are.
struct DiskOrders {
  enum Ending: CaseIterable {
    case stop, kill, powerCut
  }

  /// A site ends, and starts with the next list.
  struct Order {
    let site: Int
    let ending: Ending
  }

  /// By group: each list is the one before it with a disk more, one less, or in another order.
  let lists: [[[Plan.Disk]]]
  let orders: [Order]

  /// The last list. A follower has all disks once more before it: where the two sites' lists went
  /// past each other, the owner could wait for room to say that a disk has left, and the follower
  /// for that disk.
  var finalVersion: Int { orders.count / 2 }
  var wholeVersion: Int { finalVersion + 1 }

  init?(seed: UInt64, _ groups: [Plan.Group]) {
    var random = SimulationRandom(seed: seed ^ 0x6469_736B_7300)
    guard random.chance(0.4) else { return nil }
    let count = random.pick([1, 2, 2, 3, 4])
    var lists: [[[Plan.Disk]]] = []
    for group in groups {
      var versions = [group.disks]
      for number in 0..<count {
        versions.append(Self.next(after: versions[number], of: group, number, &random))
      }
      let others = group.disks.filter { disk in !versions[count].contains { $0.name == disk.name } }
      lists.append(versions + [versions[count] + others])
    }
    self.lists = lists
    var sites = [0, 1].flatMap { [Int](repeating: $0, count: count) }
    sites.shuffle(using: &random)
    orders = sites.map { Order(site: $0, ending: random.pick(Ending.allCases)) }
  }

  private static func next(
    after list: [Plan.Disk], of group: Plan.Group, _ number: Int, _ random: inout SimulationRandom
  ) -> [Plan.Disk] {
    var next = list
    // One that comes stays: the follower could go from a list before it to one behind it.
    let mayLeave = list.indices.filter { place in
      group.disks.contains { $0.name == list[place].name }
    }
    switch random.below(10) {
    case 0...3 where list.count > 1 && !mayLeave.isEmpty: next.remove(at: random.pick(mayLeave))
    case 4: next.reverse()
    default:
      let disk = Plan.Disk(
        name: "\(group.name)-x\(number)",
        byteCount: random.pick([4, 16, 64]) * 4096 + random.pick([0, 0, 512, 7]),
        isBlank: random.chance(0.2))
      next.insert(disk, at: random.below(next.count + 1))
    }
    return next
  }

  /// Those that come later.
  func newcomers(of group: Int) -> [Plan.Disk] {
    var names = Set(lists[group][0].map(\.name))
    return lists[group].flatMap { $0 }.filter { names.insert($0.name).inserted }
  }
}
