import SystemIO

/// Files that nobody else may read: private keys.
public enum SecretFile {
  /// Refused when others than its owner and its group can read it, or others than its owner change
  /// it. Blocks.
  public static func read(_ path: String, limit: Int) throws(TLSError) -> [UInt8] {
    try check(path)
    do throws(Errno) { return try File.contents(of: path, limit: limit) } catch {
      throw TLSError("reading \(path): \(error.withAdvice)")
    }
  }

  public static func check(_ path: String) throws(TLSError) {
    let permissions: UInt32
    do throws(Errno) {
      permissions = try File(opening: path, .readOnly).permissions()
    } catch { throw TLSError("reading \(path): \(error.withAdvice)") }
    guard permissions & 0o027 == 0 else {
      throw TLSError(
        "\(path) is secret, and others can read or change it "
          + "(mode \(String(permissions, radix: 8))): `chmod 600 \(path)`")
    }
  }
}
