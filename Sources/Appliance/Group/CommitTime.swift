import BlockModel
import Configuration

/// When a failover is committed: from then on there is no way back.
public enum CommitTime: Equatable, Sendable {
  case now
  /// When somebody does it.
  case manual
  case after(seconds: Double)

  static let seconds =
    Double.leastNonzeroMagnitude..<Double(ConfigurationLimits.durationNanoseconds) / 1e9

  /// `now`, `manual` or `after:DURATION`.
  public init(parsing text: String) throws(SiteError) {
    let words = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    switch (words[0], words.count) {
    case ("now", 1): self = .now
    case ("manual", 1): self = .manual
    case ("after", 2):
      let seconds: Double
      do throws(UnitSyntaxError) {
        seconds = Double(try TimeSpan.parse(String(words[1]))) / 1e9
      } catch { throw SiteError("\(error)") }
      guard Self.seconds.contains(seconds) else {
        throw SiteError("\(words[1]) is nothing, or more than ten years")
      }
      self = .after(seconds: seconds)
    default:
      throw SiteError("\(text.quotedForMessage) is none of now, manual and after:DURATION")
    }
  }
}
