/// Everything that a machine's disk held at one time.
public struct DiskCopy {
  fileprivate let files: FileTree
}

extension Machine {
  /// As a snapshot of the running machine has it: what can be read now.
  public func copyDisk() -> DiskCopy { DiskCopy(files: files.copied()) }

  /// The disk is that of the copy, and all of it is durable. Ends all processes first.
  public func restoreDisk(_ copy: DiskCopy) {
    simulation.trace("\(name): its disk is put back")
    for process in processes { process.end() }
    files = copy.files.copied()
  }
}
