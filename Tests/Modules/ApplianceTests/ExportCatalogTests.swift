import BlockModel
import Configuration
import SystemIO
import TestSupport
import Testing

@testable import Appliance

/// Proves who sees which exports, what a name means, and what those are told who cannot have one.
@Suite(.scratch) final class ExportCatalogTests {
  /// A group that never was open, or is not any more.
  private struct Closed: ExportedGroup {
    let name: String
    let configuration: GroupConfiguration
    let closedReason = "the disk is gone"
    var group: Group? { nil }
    var branchGroups: [any ExportedGroup] = []
  }

  private let scratch: ScratchDirectory
  private var hosts: [GroupHost] = []
  private var answers: EventLoop

  init() throws {
    scratch = try ScratchDirectory()
    answers = try EventLoop(name: "answers")
    answers.start()
  }

  deinit {
    for host in hosts { host.end() }
    answers.stop()
  }

  private static let anyone = ClientIdentity()
  private static let named = ClientIdentity(tlsName: "host1")

  /// A group of two disks in service; `rules` are the first one's.
  private func serve(
    _ name: String, role: String = "protected", rules: String = ""
  ) throws -> GroupHost {
    let disks = try ["\(name)1", "\(name)2"].map { disk in
      let raw = try scratch.sparseFile("\(disk).raw", size: 1 << 20)
      let access = disk.hasSuffix("1") && !rules.isEmpty ? ", access: [\(rules)]" : ""
      return "        - { name: \(disk), size: 1M, backing: \"file:\(raw)\"\(access) }"
    }
    let journal = role == "plain" ? "" : "journal: { capacity: 16M, segment_size: 1M }"
    let peer = role == "recovery" ? "peer: { site: east }" : ""
    let yaml = """
      site: west
      data: \(try scratch.subdirectory("data-\(name)"))
      listen: { nbd: ["tcp:127.0.0.1:0"], link: "tcp:127.0.0.1:0" }
      groups:
        - name: \(name)
          role: \(role)
          \(journal)
          \(peer)
          disks:
      \(disks.joined(separator: "\n"))
      """
    let site = try SiteConfiguration(yaml: Array(yaml.utf8), file: "site.yaml")
    let host = GroupHost(
      site.groups[0], origin: nil, loop: try EventLoop(name: "loop-\(name)"),
      files: InheritedFiles(), .init(site: "west", dataDirectory: site.dataDirectory) { _ in })
    hosts.append(host)
    try host.open()
    host.loop.start()
    let group = try #require(host.group)
    host.loop.post { group.begin() }
    host.release()
    return host
  }

  private func refusal(
    _ catalog: ExportCatalog, _ name: String, _ client: ClientIdentity = anyone
  ) -> ExportRefusal? {
    do throws(ExportRefusal) {
      _ = try catalog.find(name, for: client)
      return nil
    } catch { return error }
  }

  private func names(_ catalog: ExportCatalog, _ client: ClientIdentity = anyone) -> [String] {
    catalog.listings(for: client).map(\.name)
  }

  @Test func `a client sees the disks that it may open, of groups that are open`() throws {
    let open = try serve("a", rules: "{ client: host1, allow: read-only }")
    let copy = try serve("b", role: "recovery")
    let catalog = ExportCatalog([
      open, Closed(name: "c", configuration: open.configuration), copy,
    ])
    #expect(names(catalog, Self.named) == ["a1", "a2", "b1@latest", "b2@latest"])
    #expect(names(catalog) == ["a2", "b1@latest", "b2@latest"])
    let said = catalog.listings(for: Self.anyone).map(\.description)
    #expect(said[0].hasPrefix("protected disk of group a; a2@INSTANT opens it as it was"))
    #expect(said[1].hasPrefix("recovery disk of group b; b1@INSTANT opens it as it was"))
  }

  @Test func `what a client may not open is to it as if it were not there`() throws {
    let host = try serve("a", rules: "{ client: host1, allow: read-only }")
    let catalog = ExportCatalog([host])
    for name in ["a1", "a1@latest"] {
      let hidden = try #require(refusal(catalog, name))
      #expect(hidden.message == "no disk 'a1' at this site")
      #expect(hidden.remark?.contains("may not open disk a1") == true)
    }
    #expect(refusal(catalog, "x") == .unknown("no disk 'x' at this site"))
    let export = try catalog.find("a1", for: Self.named)
    #expect(export.access == .readOnly && export.description.isReadOnly)
    #expect(try !catalog.find("a2", for: Self.anyone).description.isReadOnly)
  }

  @Test func `rights are those of the moment`() throws {
    let host = try serve("a")
    let catalog = ExportCatalog([host])
    #expect(refusal(catalog, "a1") == nil)
    let group = try #require(host.group)
    var rules = group.accessRules.present
    rules[0].accessRules = [AccessRule(.everyone, .none)]
    group.accessRules.change(to: rules)
    #expect(refusal(catalog, "a1")?.remark != nil)
    #expect(names(catalog) == ["a2"])
  }

  @Test func `who may open a disk of a closed group is told why it is closed`() throws {
    let host = try serve("a", rules: "{ client: host1, allow: read-write }")
    let catalog = ExportCatalog([Closed(name: "a", configuration: host.configuration)])
    let reason = ExportRefusal.unavailable("group a is not open: the disk is gone")
    #expect(refusal(catalog, "a1", Self.named) == reason)
    #expect(refusal(catalog, "a1@latest", Self.named) == reason)
    #expect(refusal(catalog, "a1")?.message == "no disk 'a1' at this site")
    #expect(names(catalog, Self.named).isEmpty && catalog.openDisk(named: "a1") == nil)
  }

  @Test func `a closed branch tells no more of a disk than the disk's present rules let it`()
    throws
  {
    let host = try serve("a", rules: "{ client: host1, allow: read-write }")
    // As it was when it was made: without rules.
    let branch = Closed(
      name: "a@x",
      configuration: GroupConfiguration(
        name: "a@x", role: .protected,
        disks: ["a1@x", "left@x"].map {
          DiskConfiguration(name: $0, sizeBytes: 1 << 20, backing: .file(path: $0))
        }))
    let catalog = ExportCatalog([
      Closed(name: "a", configuration: host.configuration, branchGroups: [branch])
    ])
    for name in ["a1@x", "left@x"] {
      let reason = ExportRefusal.unavailable("group a@x is not open: the disk is gone")
      #expect(refusal(catalog, name, Self.named) == reason)
      #expect(refusal(catalog, name)?.message == "no branch '\(name)' at this site")
    }
  }

  @Test func `the empty name is the only export that the client can see`() throws {
    let host = try serve("a", rules: "{ client: host1, allow: read-write }")
    let catalog = ExportCatalog([host])
    #expect(try catalog.find("", for: Self.anyone).name == "a2")
    // Of two, none is meant.
    #expect(refusal(catalog, "", Self.named) != nil)
    #expect(refusal(ExportCatalog([]), "") != nil)
  }

  @Test func `a disk of a recovery group is opened as it was, not as it is`() throws {
    let catalog = ExportCatalog([try serve("b", role: "recovery")])
    #expect(
      refusal(catalog, "b1")
        == .notPermitted("b1 is a recovery copy at this site; open b1@latest or b1@INSTANT"))
    #expect(try catalog.find("b1@latest", for: Self.anyone).instant == .latest)
  }

  @Test func `a name that is none is refused in words`() throws {
    let catalog = ExportCatalog([try serve("a")])
    for name in ["a1@yesterday", "a1@", "A 1"] {
      guard case .unknown? = refusal(catalog, name) else {
        Issue.record("\(name) was not refused")
        continue
      }
    }
  }

  @Test func `what is told of an export is what its group can do`() throws {
    let catalog = ExportCatalog([try serve("a"), try serve("p", role: "plain")])
    let live = try catalog.find("a1", for: Self.anyone).description
    #expect(live.sizeBytes == 1 << 20 && live.isShared && live.zeroesFast)
    let plain = try catalog.find("p1", for: Self.anyone).description
    #expect(plain.text == "plain disk of group p" && plain.isShared && !plain.zeroesFast)
    let now = Timestamp(nanoseconds: SystemClock.realtimeNanoseconds())
    let disk = try catalog.find("a1", for: Self.anyone).disk
    let latest = try catalog.find("a1@latest", for: Self.anyone).description(at: now, of: disk)
    #expect(latest.isReadOnly && !latest.isShared && latest.text == "a1 as of \(now)")
    let fixed = try catalog.find("a1@\(now)", for: Self.anyone).description(at: now, of: disk)
    #expect(fixed.isReadOnly && fixed.isShared)
  }

  // MARK: Views and contexts

  private func view(_ catalog: ExportCatalog, _ name: String) throws -> OpenedView {
    let export = try catalog.find(name, for: Self.anyone)
    let box = Monitor<Result<OpenedView, ExportRefusal>?>(nil)
    export.openView(answeringOn: answers) { result in box.update { $0 = result } }
    return try box.wait { $0 }.get()
  }

  private func contexts(
    _ catalog: ExportCatalog, _ name: String, _ asked: [String]
  ) throws -> SelectedContexts {
    let export = try catalog.find(name, for: Self.anyone)
    let box = Monitor<Result<SelectedContexts, ExportRefusal>?>(nil)
    export.selectContexts(ContextQueries(asked), answeringOn: answers) { result in
      box.update { $0 = result }
    }
    return try box.wait { $0 }.get()
  }

  private func listed(
    _ catalog: ExportCatalog, _ name: String, _ asked: [String]
  ) throws -> [String] {
    let export = try catalog.find(name, for: Self.anyone)
    let box = Monitor<[String]?>(nil)
    export.listContexts(asked, answeringOn: answers) { names in box.update { $0 = names } }
    return box.wait { $0 }
  }

  @Test func `an instant is opened once for all who look, whether at a disk or at changes`() throws
  {
    let host = try serve("a")
    let catalog = ExportCatalog([host])
    let first = try view(catalog, "a1@latest")
    let name = "a2@\(first.view.instant)"
    let second = try view(catalog, name)
    let since = "tapline:changed-since:\(first.view.instant)"
    let changes = try contexts(catalog, name, [since])
    #expect(second.view === first.view)
    #expect(changes.opened?.view?.view === first.view)
    #expect(changes.sources.map(\.name) == [since] && changes[since]?.isAllocation == false)
    first.release()
    second.release()
    changes.release()
    let group = try #require(host.group)
    #expect(host.loop.ask { $0(group.views.isEmpty) } == true)
  }

  @Test func `contexts that an export does not have are left out, and nothing is held`() throws {
    let host = try serve("a")
    let catalog = ExportCatalog([host, try serve("p", role: "plain")])
    let old = "tapline:changed-since:1970-01-01T00:00:01Z"
    let selected = try contexts(
      catalog, "a1", ["base:allocation", old, "qemu:x", "base:allocation"])
    #expect(selected.sources.map(\.name) == ["base:allocation"] && selected.opened == nil)
    let group = try #require(host.group)
    #expect(host.loop.ask { $0(group.views.isEmpty) } == true)
    let latest = "tapline:changed-since:latest"
    #expect(try contexts(catalog, "p1", [latest]).sources.isEmpty)
    #expect(ContextQueries(["base:allocation", latest, latest, "tapline:", "x"]).count == 2)
    #expect(
      try listed(catalog, "a1", []) == ["base:allocation", "tapline:changed-since:"])
    #expect(try listed(catalog, "p1", []) == ["base:allocation"])
    #expect(try listed(catalog, "a1", [old, latest, "base:"]) == [latest, "base:allocation"])
  }
}
