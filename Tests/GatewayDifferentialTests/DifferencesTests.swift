internal import Foundation
internal import Testing

/// What users read about differences is what the test lets pass, and no more.
@Suite struct DifferencesTests {
    @Test func documentNamesEachDifference() throws {
        let text = try String(contentsOfFile: Gateway.root + "/docs/gateway/differences.md", encoding: .utf8)
        let headings = text.split(separator: "\n").filter { $0.hasPrefix("## ") }.map { String($0.dropFirst(3)) }
        #expect(headings.sorted() == WantedDifference.all.map(\.id).sorted())
        #expect(Set(headings).count == headings.count)
    }
}
