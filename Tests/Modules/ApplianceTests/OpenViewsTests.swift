import BlockModel
import Journal
import Storage
import SystemIO
import Testing
import Volume

@testable import Appliance

/// Proves that all who ask for one instant share one view, that it is made once and one at a time,
/// and that it goes with the last of them.
@Suite final class OpenViewsTests {
  private var views = OpenViews()
  private var opened: [(view: SiteView?, use: OpenViews.Use)] = []
  private static let early = Timestamp(rawValue: 10)
  private static let late = Timestamp(rawValue: 20)

  private func plan(_ instant: Timestamp) -> ViewPlan<SiteSegmentFile> {
    ViewPlan(
      instant: instant, generations: [], cut: nil, segments: [], diskCount: 0,
      shelf: IndexShelf(FolderStorage(existing: "/nowhere")))
  }

  private func ask(_ instant: Timestamp) {
    let told: OpenViews.Waiter = { [unowned self] result, use in
      opened.append((try? result.get(), use))
    }
    if let tell = views.join(instant, told) { return tell() }
    views.add(plan(instant), applied: .none, told)
  }

  /// What is to be opened next is opened, or cannot be.
  private func openNext(fails: Bool = false) throws -> Bool {
    guard let (identifier, plan, _) = views.nextToOpen() else { return false }
    #expect(views.nextToOpen() == nil)
    let view = try SiteView(plan, applied: .none, stores: [], catalog: SegmentCatalog())
    views.opened(identifier, fails ? .failure(.unavailable("broken")) : .success(view))()
    return true
  }

  @Test func `one view for all who ask while it is opened, and later`() throws {
    for _ in 0..<5 { ask(Self.early) }
    #expect(opened.isEmpty)
    #expect(try openNext())
    ask(Self.early)
    #expect(try !openNext())
    #expect(opened.count == 6 && views.count == 6)
    #expect(Set(opened.compactMap { $0.view.map { ObjectIdentifier($0) } }).count == 1)
    for use in opened.map(\.use).dropLast() {
      views.remove(use)
      #expect(views.oldestInstant == Self.early)
    }
    views.remove(opened[5].use)
    #expect(views.isEmpty && views.oldestInstant == nil)
    // Whoever comes then gets a new one.
    ask(Self.early)
    #expect(try openNext())
  }

  @Test func `views are opened one after the other`() throws {
    ask(Self.early)
    ask(Self.late)
    #expect(try openNext())
    #expect(try openNext())
    #expect(opened.map { $0.view?.instant } == [Self.early, Self.late])
  }

  @Test func `what cannot be opened is told to all, and tried again for the next`() throws {
    ask(Self.early)
    ask(Self.early)
    #expect(try openNext(fails: true))
    #expect(opened.count == 2 && opened.allSatisfy { $0.view == nil })
    #expect(views.isEmpty)
    ask(Self.early)
    #expect(try openNext())
    #expect(opened[2].view != nil)
  }

  @Test func `at the end those are refused whose turn has not come`() throws {
    ask(Self.early)
    let next = views.nextToOpen()
    let first = try #require(next)
    ask(Self.late)
    ask(Self.late)
    views.refuseQueued(.unavailable("the end"))()
    #expect(opened.count == 2 && opened.allSatisfy { $0.view == nil })
    #expect(views.nextToOpen() == nil && views.oldestInstant == Self.early)
    views.opened(first.identifier, .failure(.unavailable("broken")))()
    #expect(opened.count == 3 && views.isEmpty && views.nextToOpen() == nil)
  }

  @Test func `who is told of a view may ask for the next at once`() throws {
    let told: OpenViews.Waiter = { [unowned self] _, use in
      views.remove(use)
      ask(Self.late)
    }
    views.add(plan(Self.early), applied: .none, told)
    #expect(try openNext())
    #expect(views.oldestInstant == Self.late)
    #expect(try openNext())
  }

  @Test func `everybody is cut off, also who came while it was opened`() throws {
    var cut = 0
    ask(Self.early)
    ask(Self.early)
    #expect(try openNext())
    views.setExpiry(opened[0].use) { cut += 1 }
    views.expireAll()
    #expect(cut == 1)
    views.setExpiry(opened[1].use) { cut += 1 }
    #expect(cut == 2)
    // A view that is lost is shared no more.
    ask(Self.early)
    #expect(opened.count == 2)
  }
}
