import SystemIO

/// Breaks index files, while there are faults: they cannot be opened, read or written for a while,
/// or are not what was written.
final class IndexChaos {
  private unowned let world: World
  private var turn = 0

  init(_ world: World) { self.world = world }

  private var simulation: Simulation { world.simulation }
  private var isOver: Bool { world.chaos.isOver }

  static func isIndex(_ path: String) -> Bool {
    path.hasSuffix(".index") || path.hasSuffix("/index.scratch")
  }

  func begin() {
    again(world.plan.index.errorInterval) { [self] in breakFiles() }
    again(world.plan.index.damageInterval) { [self] in damage() }
  }

  func end() { for machine in world.machines { machine.fileFaults = FileFaults() } }

  private func again(_ interval: UInt64?, _ strike: @escaping () -> Void) {
    guard let interval else { return }
    simulation.at(simulation.now + simulation.random.around(interval)) { [self] in
      if isOver { return }
      strike()
      again(interval, strike)
    }
  }

  private func anyMachine() -> Machine { simulation.random.pick(world.machines) }

  // MARK: Errors

  private func breakFiles() {
    let machine = anyMachine()
    var faults = FileFaults()
    let probability = simulation.random.pick([0.1, 0.5, 1])
    switch simulation.random.below(5) {
    case 0: faults.readError = probability
    case 1: faults.writeError = probability
    case 2...3: faults.openError = probability
    default: (faults.readError, faults.writeError, faults.openError) = (0.3, 0.1, 0.3)
    }
    let name = simulation.random.pick([".index", "/index.scratch", ""])
    faults.applies = { Self.isIndex($0) && $0.hasSuffix(name) }
    machine.fileFaults = faults
    world.statistics.indexFaults += 1
    turn += 1
    let turn = turn
    simulation.at(
      simulation.now + simulation.random.pick(logarithmic: .milliseconds(10)...(.seconds(1)))
    ) { [self] in
      if self.turn == turn { self.end() }
    }
  }

  // MARK: Other contents

  private func damage() {
    let machine = anyMachine()
    let files = machine.spareFiles(Self.isIndex).filter { $0.byteCount > 0 }
    guard !files.isEmpty else { return }
    let file = simulation.random.pick(files)
    let isNamed = file.path.hasSuffix(".index")
    let offset = simulation.random.below(file.byteCount)
    world.statistics.indexFaults += 1
    world.trace.note("\(machine.name): an index file changes: \(file.path)")
    switch simulation.random.below(isNamed ? 7 : 4) {
    case 0...1:
      let bit = UInt8(1) << UInt8(simulation.random.below(8))
      file.overwrite([file.bytes[offset] ^ bit], at: offset)
    case 2: file.truncate(to: offset)
    case 3:
      // Its own pages, in another order.
      let from = simulation.random.below(file.byteCount) / 256 * 256
      let page = Array(file.bytes[from...].prefix(256))
      let place = min(offset / 256 * 256, file.byteCount - page.count)
      file.overwrite(page, at: place)
    case 4: machine.remove(file)
    case 5:
      let other = simulation.random.pick(files.filter { $0.path.hasSuffix(".index") })
      if Self.folder(other.path) == Self.folder(file.path), other.path != file.path {
        machine.exchange(file, other)
      }
    default:
      // What another file holds, whole or as far as this one reaches.
      let bytes = simulation.random.pick(files).bytes
      file.overwrite(Array(bytes.prefix(max(1, offset))), at: 0)
    }
  }

  private static func folder(_ path: String) -> Substring {
    path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
  }
}
