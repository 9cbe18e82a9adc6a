import Foundation

/// A certificate authority and certificates under it, in folders as qemu, nbdkit and libnbd expect
/// them. Made by the `openssl` program; they are valid for a day.
public struct Certificates {
  private let scratch: ScratchDirectory
  private let authority: String

  /// - Parameter name: of the authority's folder in the scratch directory.
  public init(in scratch: ScratchDirectory, named name: String = "authority") throws {
    self.scratch = scratch
    authority = try scratch.subdirectory(name)
    try run(
      "openssl",
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "\(authority)/ca-key.pem", "-out", "\(authority)/ca-cert.pem", "-days", "1",
        "-subj", "/CN=Test \(name)", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
      ]
    ).checked()
  }

  /// The folder of a server on 127.0.0.1: `ca-cert.pem`, `server-cert.pem`, `server-key.pem`.
  public func server() throws -> String {
    try issue(
      folder: "server-pki", kind: "server", subject: "/CN=localhost",
      extensions: "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth")
  }

  /// The folder of a client: `ca-cert.pem`, `client-cert.pem`, `client-key.pem`.
  public func client(_ name: String, organization: String = "shop") throws -> String {
    try issue(
      folder: "client-\(name)", kind: "client", subject: "/O=\(organization)/CN=\(name)",
      extensions: "extendedKeyUsage=clientAuth")
  }

  /// Revokes the certificate in a client's folder, in a new `ca-crl.pem` of the server's folder.
  public func revoke(_ client: String, for server: String) throws {
    for file in ["index.txt", "index.txt.attr"] {
      try Data().write(to: URL(filePath: "\(authority)/\(file)"))
    }
    let settings = """
      [ca]
      default_ca = own
      [own]
      database = \(authority)/index.txt
      default_md = sha256
      default_crl_days = 1
      """
    let file = "\(authority)/ca.cnf"
    try Data(settings.utf8).write(to: URL(filePath: file))
    let signer = [
      "ca", "-config", file, "-cert", "\(authority)/ca-cert.pem", "-keyfile",
      "\(authority)/ca-key.pem",
    ]
    try run("openssl", signer + ["-revoke", "\(client)/client-cert.pem"]).checked()
    try run("openssl", signer + ["-gencrl", "-out", "\(server)/ca-crl.pem"]).checked()
  }

  private func issue(
    folder: String, kind: String, subject: String, extensions: String
  ) throws -> String {
    let folder = try scratch.subdirectory(folder)
    let (key, certificate) = ("\(folder)/\(kind)-key.pem", "\(folder)/\(kind)-cert.pem")
    try Data(extensions.utf8).write(to: URL(filePath: "\(folder)/extensions"))
    try run(
      "openssl",
      [
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
        "-out", "\(folder)/request", "-subj", subject,
      ]
    ).checked()
    try run(
      "openssl",
      [
        "x509", "-req", "-in", "\(folder)/request", "-CA", "\(authority)/ca-cert.pem", "-CAkey",
        "\(authority)/ca-key.pem", "-CAcreateserial", "-days", "1", "-extfile",
        "\(folder)/extensions", "-out", certificate,
      ]
    ).checked()
    try FileManager.default.copyItem(
      atPath: "\(authority)/ca-cert.pem", toPath: "\(folder)/ca-cert.pem")
    return folder
  }
}
