import Journal
import SystemIO

/// Looks up what a peer's last record is compared with: where both journals have the same one.
final class WelcomeComparison: LinkWork, @unchecked Sendable {
  private let catalog: SegmentCatalog<File>
  private let watermarks: Watermarks
  let welcome: LinkWelcome
  /// The newest record here.
  private(set) var last = LastRecord(.none, .zero)
  /// What is here in place of the peer's last record.
  private(set) var match = LastRecord.Match.unknown

  init(_ welcome: LinkWelcome, _ catalog: SegmentCatalog<File>, _ watermarks: Watermarks) {
    self.welcome = welcome
    self.catalog = catalog
    self.watermarks = watermarks
  }

  override func run() {
    last = .newest(catalog, watermarks)
    match = welcome.last.match(in: catalog, of: welcome.lineage.newest?.identifier)
  }
}
