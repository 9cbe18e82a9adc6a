import Glibc

/// The bytes of a configuration file.
enum ConfigurationFile {
  /// Reads a file or a pipe to its end. Blocks. At most `ConfigurationLimits.fileBytes`.
  static func read(_ path: String) throws(ConfigurationError) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("cannot open", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe chunk.withUnsafeMutableBytes { buffer in
        unsafe Glibc.read(descriptor, buffer.baseAddress, buffer.count)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure("cannot read", path) }
      guard count > 0 else { return bytes }
      bytes += chunk[..<count]
      guard bytes.count <= ConfigurationLimits.fileBytes else {
        throw ConfigurationError(
          file: path, reason: "the file has more than \(ConfigurationLimits.fileBytes) bytes")
      }
    }
  }

  private static func failure(_ what: String, _ path: String) -> ConfigurationError {
    let message = unsafe String(cString: strerror(errno))
    return ConfigurationError(file: path, reason: "\(what): \(message)")
  }
}
