import Journal

extension Site {
  /// As `GroupOpening.yield`: nil, or why only a full copy helps.
  public static func yield(
    folder: String, to common: JournalState.Mark
  ) throws(SiteError) -> String? {
    switch try GroupOpening.yield(folder: folder, to: common) {
    case .follows: nil
    case .needsCopy(let reason): reason
    }
  }
}
