import NBDProtocol
import SystemIO

/// What a client must be told before it can be vouched for what it wrote.
extension NBDConnection {
  /// What the client wrote may be lost, and it was not told yet: this request's answer says so.
  @inline(__always)
  func tellsOwedFailure(_ tag: NBDRequestTag) -> Bool {
    guard let failure = owedFailure else { return false }
    owedFailure = nil
    reply(tag, NBDError(failure), NBDError.text(failure))
    return true
  }

  /// The first client of a disk who asks for what was written to be durable hears of a loss: a
  /// success would vouch for what is gone.
  @inline(__always)
  func tellsOfLoss(_ group: Group, _ tag: NBDRequestTag) -> Bool {
    guard group.loss != nil, group.loss?.tell(disk) == true else { return false }
    #if MUTANTS
      if Mutant.vouchForLost.isOn { return false }
    #endif
    group.log(
      "group \(group.configuration.name), disk \(group.disk(disk).name): a client that "
        + "asked for durability was told of the loss")
    reply(tag, .io, "acknowledged writes were lost with a failed journal; see the site's log")
    return true
  }
}
