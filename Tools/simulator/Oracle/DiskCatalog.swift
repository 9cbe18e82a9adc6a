import Journal

/// The disks of a group by the numbers that its records have: those that it began with, and those
/// whose markers were seen since. A number is one disk's for ever.
final class DiskCatalog {
  struct Disk {
    let name: String
    /// What it holds when it comes. In the order it is zeros then, and what it holds comes as
    /// records, which so change nothing of it.
    let content: DiskImage

    var byteCount: Int { content.byteCount }
  }

  private(set) var disks: [Disk?]
  let firstCount: Int
  private let newcomers: [Disk]
  private let violation: (String) -> Never

  init(_ first: [Disk], newcomers: [Disk], isFixed: Bool, _ violation: @escaping (String) -> Never)
  {
    disks = first
    firstCount = first.count
    self.newcomers = newcomers
    self.isFixed = isFixed
    self.violation = violation
  }

  /// The disks are always the same.
  let isFixed: Bool

  subscript(number: Int) -> Disk {
    guard number < disks.count, let disk = disks[number] else {
      violation("no disk has number \(number)")
    }
    return disk
  }

  func number(of name: String) -> Int? { disks.lastIndex { $0?.name == name } }

  /// A marker was written.
  func note(_ change: DiskChange) {
    let number = change.number.index
    while disks.count <= number { disks.append(nil) }
    if let known = disks[number] {
      if known.name == change.name, known.byteCount == Int(change.byteCount) { return }
      violation("number \(number) of disk \(known.name) is given to disk \(change.name)")
    }
    guard change.event == .added, let disk = newcomers.first(where: { $0.name == change.name }),
      disk.byteCount == Int(change.byteCount)
    else { violation("a marker of disk \(change.name), which nobody has added") }
    if let other = self.number(of: change.name) {
      violation("disk \(change.name) has numbers \(other) and \(number)")
    }
    disks[number] = disk
  }
}

extension Line {
  /// By number: those that belong to the group after its first `count` records.
  func present(after count: Int, of catalog: DiskCatalog) -> [Int] {
    numbers(after: count, of: catalog, from: .added)
  }

  /// Those that an instant shows which is after `count` records.
  func shown(after count: Int, of catalog: DiskCatalog) -> [Int] {
    numbers(after: count, of: catalog, from: .whole)
  }

  private func numbers(
    after count: Int, of catalog: DiskCatalog, from event: DiskChange.Event
  ) -> [Int] {
    var numbers = Set(0..<catalog.firstCount)
    if catalog.isFixed { return numbers.sorted() }
    for change in records.prefix(count).lazy.compactMap(\.change) {
      if change.event == event { numbers.insert(change.number.index) }
      if change.event == .removed { numbers.remove(change.number.index) }
    }
    return numbers.sorted()
  }

  /// Whether the instant after `count` records could show the disk: a marker may come twice.
  func mayShow(_ number: Int, after count: Int, of catalog: DiskCatalog) -> Bool {
    let changes = records.enumerated().lazy.filter { $0.element.change?.number.index == number }
    let whole = changes.first { $0.element.change?.event == .whole }?.offset
    let removed = changes.last { $0.element.change?.event == .removed }?.offset
    let isWhole = number < catalog.firstCount || whole.map { $0 < count } ?? false
    return isWhole && (removed.map { count <= $0 } ?? true)
  }
}
