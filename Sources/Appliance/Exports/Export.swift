import BlockModel
import Configuration

/// An export that a client may open: a disk as it is, or as it was at an instant.
struct Export: Sendable {
  /// What a client is told before it opens an export.
  struct Description: Equatable, Sendable {
    /// For people.
    var text: String
    var sizeBytes: UInt64
    var isReadOnly: Bool
    /// Whoever opens the same name sees the same bytes, and a flush of one covers what was answered
    /// to all.
    var isShared: Bool
    /// To make zeros never costs as much as to write them.
    var zeroesFast: Bool
  }

  let name: String
  let group: Group
  let disk: GroupDisk
  /// Nil: as it is.
  let instant: InstantExpression?
  let access: DiskAccess
  let client: ClientIdentity

  /// Of the disk as it is.
  var description: Description {
    Description(
      text: group.description(of: disk), sizeBytes: disk.store.byteCount,
      isReadOnly: access == .readOnly, isShared: true,
      // A record of zeros has no payload; a plain group leaves zeroing to its base.
      zeroesFast: group.journal != nil)
  }

  /// - Parameters:
  ///   - found: the instant that is meant.
  ///   - disk: what the instant shows under the name.
  func description(at found: Timestamp, of disk: GroupDisk) -> Description {
    // Two connections that name a moving instant see different disks.
    let isFixed: Bool
    switch instant {
    case .at, .checkpoint: isFixed = true
    case .latest, .ago, nil: isFixed = false
    }
    return Description(
      text: "\(disk.name) as of \(found)", sizeBytes: disk.store.byteCount, isReadOnly: true,
      isShared: isFixed, zeroesFast: false)
  }

  /// Which instant is meant, if it can be opened; nothing is made for it. Any thread; `completion`
  /// is called on `loop`.
  ///
  /// - Precondition: the export has an instant.
  func findInstant(
    answeringOn loop: EventLoop,
    _ completion: @escaping @Sendable (Result<(Timestamp, GroupDisk), ExportRefusal>) -> Void
  ) {
    guard let instant else { preconditionFailure("an export without an instant is no view") }
    group.loop.post { [self] in
      group.findInstant(instant) { result in
        let found = result.flatMap { instant in
          permitted(group.disks(at: instant).first { $0.name == disk.name }, at: instant)
            .map { (instant, $0) }
        }
        loop.post { completion(found) }
      }
    }
  }

  /// Opens the view, or gives a share in it if others look at the instant. Any thread; `completion`
  /// is called on `loop`, and who gets the view releases it.
  ///
  /// - Precondition: the export has an instant.
  func openView(
    answeringOn loop: EventLoop,
    _ completion: @escaping @Sendable (Result<OpenedView, ExportRefusal>) -> Void
  ) {
    guard let instant else { preconditionFailure("an export without an instant is no view") }
    group.loop.post { [self] in
      group.openView(instant) { result in
        let shown = result.flatMap { opened -> Result<OpenedView, ExportRefusal> in
          let found = permitted(opened)
          if case .failure = found { opened.release() }
          return found.map { _ in opened }
        }
        loop.post { completion(shown) }
      }
    }
  }

  /// What the view shows under the name, if the client may see it.
  func permitted(_ opened: OpenedView) -> Result<GroupDisk, ExportRefusal> {
    permitted(opened.disk(named: disk.name), at: opened.view.instant)
  }

  /// - Parameter shown: what the instant shows under the name. It may be another disk than the one
  ///   that has the name now, and then is for others.
  private func permitted(
    _ shown: GroupDisk?, at instant: Timestamp
  ) -> Result<GroupDisk, ExportRefusal> {
    guard let shown else { return .failure(group.notShown(disk, at: instant)) }
    if group.access(to: shown, for: client) != .none { return .success(shown) }
    return .failure(
      .hidden(
        "no disk \(disk.name) at \(instant)",
        remark: "\(client) may not open disk \(disk.name) as it was at \(instant)"))
  }
}

extension Group {
  /// Of a disk, for people who choose an export.
  func description(of disk: GroupDisk) -> String {
    if let branch = branch?.branch.record {
      if branch.kind == .parked {
        return "parked writes of group \(configuration.name.prefix { $0 != "@" }), from "
          + "\(branch.instant) on; \(disk.name)@INSTANT opens it as it was"
      }
      return "branch \(branch.name) of group \(configuration.name.prefix { $0 != "@" }), which "
        + "began at \(branch.instant)"
    }
    let instants =
      journal == nil
      ? "" : "; \(disk.name)@INSTANT opens it as it was (RFC 3339, -90s, latest, checkpoint:TAG)"
    return "\(duty.role.rawValue) disk of group \(configuration.name)\(instants)"
  }
}
