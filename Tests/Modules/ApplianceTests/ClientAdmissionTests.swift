import Configuration
import Testing

@testable import Appliance

/// Proves that no more clients are admitted than the limits say, to the site and to each disk, and
/// that a place is free as soon as nobody holds it.
@Suite struct ClientAdmissionTests {
  private func refusal(_ admission: ClientAdmission, _ disk: String) -> String? {
    do throws(ClientAdmission.Refusal) {
      _ = try admission.admit(to: disk)
      return nil
    } catch { return error.message }
  }

  @Test func `the site's limit counts the clients of all disks`() throws {
    let admission = ClientAdmission(ClientLimits(connections: 3, connectionsPerDisk: 2))
    var places = [try admission.admit(to: "a"), try admission.admit(to: "b")]
    places.append(try admission.admit(to: "a"))
    #expect(refusal(admission, "b")?.contains("limits.connections is 3") == true)
    places.removeFirst()
    #expect(refusal(admission, "b") == nil)
    #expect(refusal(admission, "a") == nil)
  }

  @Test func `a disk's limit leaves the others alone`() throws {
    let admission = ClientAdmission(ClientLimits(connections: 10, connectionsPerDisk: 1))
    let place = try admission.admit(to: "a")
    let message = try #require(refusal(admission, "a"))
    #expect(message.contains("disk a serves no more clients: limits.connections_per_disk is 1"))
    #expect(refusal(admission, "b") == nil)
    withExtendedLifetime(place) {}
  }
}
