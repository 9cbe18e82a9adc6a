import Appliance
import BlockModel

/// `tapline reload` for people.
public enum ReloadText {
  /// Ends in a newline.
  public static func render(_ status: ReloadStatus) -> String {
    let grown = status.grown.map {
      "disk \($0.disk) of group \($0.group): \(ByteCount.format($0.fromBytes)) -> "
        + ByteCount.format($0.toBytes)
    }
    let parts = [
      ("applied", grown + status.applied), ("needs a restart", status.needsRestart),
      ("note", status.notes),
    ]
    var lines = ["\(status.file) was read again"]
    for (title, items) in parts where !items.isEmpty {
      lines.append(title)
      lines += items.map { "  \($0)" }
    }
    if lines.count == 1 { lines.append("nothing has changed") }
    return lines.joined(separator: "\n") + "\n"
  }
}
