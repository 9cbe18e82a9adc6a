/// What is said of files that another version of the program wrote.
public enum FormatVersion {
  /// To be put behind the name of what was found.
  public static func advice(_ found: UInt32, own: UInt32) -> String {
    if found > own {
      return "was written by a newer version of tapline (format \(found)); start that version "
        + "instead"
    }
    return "was written by an older version of tapline (format \(found), this one has \(own)), "
      + "which this one does not read: stop the group cleanly with that version, so that the disks "
      + "hold everything, then move the group's data folder away at both sites; it begins anew "
      + "with a full copy"
  }
}
